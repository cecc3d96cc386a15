"""Calls over real sockets with official clients: compression, metadata, statuses, size, cancellation, reflection."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import h2.settings
import numpy as np
import pytest
import tritonclient.grpc.aio as official
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from tritonclient.grpc import service_pb2, service_pb2_grpc

from services.gateway.admission import AdmissionSettings
from services.gateway.limits import Limits
from tests.fakes.gateway import Question, Running, client, eventually, image, in_loop, serving
from tests.fakes.upstream import FakeUpstream

INFER = "/inference.GRPCInferenceService/ModelInfer"
MIB = 1024 * 1024
_OPEN = AdmissionSettings(max_in_flight=2000, fixed_limit=1500)


@asynccontextmanager
async def _channel(running: Running, **options: int) -> AsyncIterator[Any]:
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    named = [(f"grpc.{name}", value) for name, value in options.items()]
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{running.gateway.grpc_port}", options=unlimited + named
    ) as channel:
        yield channel


def _message(rows: int = 1) -> Any:
    message = service_pb2.ModelInferRequest(model_name="digits")
    message.inputs.add(name="image", datatype="FP32", shape=[rows, 3])
    message.raw_input_contents.append(np.arange(rows * 3, dtype="<f4").tobytes())
    return message


def _big(size: int) -> Any:
    message = service_pb2.ModelInferRequest(model_name="echo")
    message.inputs.add(name="UINT8", datatype="UINT8", shape=[1, size])
    message.raw_input_contents.append(np.random.default_rng(3).bytes(size))
    return message


class RawClient:
    """Sends frames that no gRPC library would send, through ``h2``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.core = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        self.core.initiate_connection()

    def begin(self, path: str, *, end: bool = False, **metadata: str) -> int:
        """Open a stream; a name's ``pseudo_`` stands for a colon, and an empty value leaves the field out."""
        fields = {
            ":method": "POST", ":scheme": "http", ":path": path, ":authority": "here",
            "content-type": "application/grpc", "te": "trailers",
        } | {name.replace("_", "-").replace("pseudo-", ":"): value for name, value in metadata.items()}  # fmt: skip
        stream: int = self.core.get_next_available_stream_id()
        self.core.send_headers(stream, [(name, value) for name, value in fields.items() if value], end_stream=end)
        self.flush()
        return stream

    async def ask(
        self, body: bytes, path: str = INFER, **metadata: str
    ) -> tuple[dict[str, str], bytes, dict[str, str]]:
        """Send a call and return head, data and trailers."""
        stream = self.begin(path, end=not body, **metadata)
        for at in range(0, len(body), 16_384):
            self.core.send_data(stream, body[at : at + 16_384], end_stream=at + 16_384 >= len(body))
        return await self.outcome()

    async def outcome(self) -> tuple[dict[str, str], bytes, dict[str, str]]:
        """Return head, data and trailers of the next answer that ends."""
        self.flush()
        head: dict[str, str] = {}
        trailers: dict[str, str] = {}
        data = b""
        while True:
            received = await self._reader.read(65536)
            assert received, "the server closed the connection"
            for event in self.core.receive_data(received):
                if isinstance(event, h2.events.ResponseReceived):
                    head = {name.decode(): value.decode() for name, value in event.headers}
                elif isinstance(event, h2.events.TrailersReceived):
                    trailers = {name.decode(): value.decode() for name, value in event.headers}
                elif isinstance(event, h2.events.DataReceived):
                    data += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    return head, data, trailers
                reset = isinstance(event, h2.events.StreamReset) and event.error_code != 0
                assert not reset, f"StreamReset {event}"
                assert not isinstance(event, h2.events.ConnectionTerminated), event
            self.flush()

    def flush(self) -> None:
        self._writer.write(self.core.data_to_send())

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def _raw(running: Running) -> AsyncIterator[RawClient]:
    raw = RawClient(*await asyncio.open_connection("127.0.0.1", running.gateway.grpc_port))
    try:
        yield raw
    finally:
        raw.close()


def _prefixed(message: bytes, flag: int = 0) -> bytes:
    return bytes((flag,)) + len(message).to_bytes(4, "big") + message


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate, grpc.Compression.NoCompression])
@in_loop
async def test_compressed_requests_are_served_and_answered_in_kind(algorithm: grpc.Compression) -> None:
    async with serving() as running, _channel(running) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        call = stub.ModelInfer(_message(), compression=algorithm)
        answer = await call
        assert answer.raw_output_contents[0] == _message().raw_input_contents[0]
        stream = stub.ModelStreamInfer(iter([_message(), _message()]), compression=algorithm)
        assert len([one async for one in stream if not one.error_message]) == 2


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@in_loop
async def test_an_answer_is_compressed_only_for_those_who_take_it_and_compressed_their_request(
    coding: str, compress: Any
) -> None:
    plain = _message().SerializeToString()
    async with serving() as running, _raw(running) as raw:
        for accepted, flag in ((f"identity,{coding}", 1), ("identity", 0), ("", 0)):
            head, data, trailers = await raw.ask(
                _prefixed(compress(plain), 1), grpc_encoding=coding, grpc_accept_encoding=accepted
            )
            assert trailers["grpc-status"] == "0"
            assert (data[0], head.get("grpc-encoding")) == (flag, coding if flag else None)
            body = zlib.decompress(data[5:], 47) if flag else data[5:]
            found = service_pb2.ModelInferResponse.FromString(body)
            assert found.raw_output_contents[0] == _message().raw_input_contents[0]
        head, data, _ = await raw.ask(_prefixed(plain), grpc_encoding=coding, grpc_accept_encoding=coding)
        assert data[0] == 0


@in_loop
async def test_bombs_and_damaged_streams_are_refused_before_they_are_large() -> None:
    limits = Limits(max_inflated_bytes=2 * MIB, max_inflation_ratio=10_000, drain_s=2.0)
    async with serving(limits=limits) as running, _raw(running) as raw:
        bomb = gzip.compress(b"\0" * (64 * MIB), 9)
        for body, status in (
            (_prefixed(bomb, 1), "8"),
            (_prefixed(gzip.compress(b"x" * 100)[:-9], 1), "3"),
            (_prefixed(gzip.compress(b"x") + b"more", 1), "3"),
            (_prefixed(b"no gzip at all", 1), "3"),
        ):
            head, _, _ = await raw.ask(body, grpc_encoding="gzip")
            assert head["grpc-status"] == status, head
        head, _, _ = await raw.ask(_prefixed(b"", 1))
        assert head["grpc-status"] == "3"
        assert "grpc-encoding" in head["grpc-message"]
        assert running.count("request", protocol="grpc", outcome="too_large") == 1
        assert not running.upstream.requests


@in_loop
async def test_an_unknown_compression_is_unimplemented_and_the_client_learns_which_there_are() -> None:
    async with serving() as running, _raw(running) as raw:
        head, _, _ = await raw.ask(_prefixed(b"x", 1), grpc_encoding="snappy")
        assert head["grpc-status"] == "12"
        assert head["grpc-accept-encoding"] == "identity,deflate,gzip"


MALFORMED: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "3"),
    ("half a prefix", b"\0\0\0", "3"),
    ("half a message", _prefixed(b"x" * 10)[:-1], "3"),
    ("two messages", _prefixed(b"") * 2, "3"),
    ("a message and a byte", _prefixed(b"") + b"x", "3"),
    ("a flag that does not exist", b"\2\0\0\0\0", "3"),
    ("a length of 4 GiB", b"\0\xff\xff\xff\xffxxxx", "8"),
    ("no protobuf", _prefixed(b"\xff\xff"), "3"),
]


@in_loop
async def test_what_is_no_single_message_is_refused_and_the_connection_goes_on() -> None:
    async with serving() as running, _raw(running) as raw:
        for name, body, status in MALFORMED:
            head, _, _ = await raw.ask(body)
            assert head[":status"] == "200"
            assert head["grpc-status"] == status, (name, head)
            assert len(head["grpc-message"]) > 20
        _, _, trailers = await raw.ask(_prefixed(_message().SerializeToString()))
        assert trailers["grpc-status"] == "0"
        assert running.count("request", protocol="grpc", model="") == len(MALFORMED)


@in_loop
async def test_what_is_no_grpc_request_gets_an_http_status() -> None:
    async with serving() as running, _raw(running) as raw:
        for metadata, status in (
            ({"content_type": "application/json"}, "415"),
            ({"content_type": ""}, "415"),
            ({"content_type": "application/grpc-web"}, "415"),
            ({"pseudo_method": "GET"}, "405"),
        ):
            head, _, _ = await raw.ask(b"x", **metadata)
            assert head[":status"] == status
        head, _, _ = await raw.ask(b"x", path="/inference.GRPCInferenceService/Nothing")
        assert (head[":status"], head["grpc-status"]) == ("200", "12")
        for good in ("application/grpc+proto", "application/grpc;charset=utf-8"):
            _, _, trailers = await raw.ask(_prefixed(_message().SerializeToString()), content_type=good)
            assert trailers["grpc-status"] == "0"


@pytest.mark.parametrize(
    ("given", "status"),
    [("5S", "0"), ("1H", "0"), ("2M", "0"), ("500000u", "0"), ("0n", "4"), ("1n", "4"), ("1", "3"), ("123456789S", "3"),
     ("-1S", "3"), ("1s", "3")],
)  # fmt: skip
@in_loop
async def test_the_deadline_is_read_in_every_unit(given: str, status: str) -> None:
    async with serving() as running, _raw(running) as raw:
        head, _, trailers = await raw.ask(_prefixed(_message().SerializeToString()), grpc_timeout=given)
        assert (trailers or head)["grpc-status"] == status
        assert len(running.upstream.requests) == (status == "0")


@in_loop
async def test_metadata_beyond_the_limit_are_refused_with_words_and_the_connection_goes_on() -> None:
    limits = Limits(max_header_bytes=4000, max_headers=20, drain_s=2.0)
    async with serving(limits=limits) as running, _raw(running) as raw:
        for metadata in ({"large": "x" * 4000}, {f"name{number}": "x" for number in range(20)}):
            head, _, _ = await raw.ask(_prefixed(_message().SerializeToString()), **metadata)
            assert head["grpc-status"] == "8"
            assert "4000" in head["grpc-message"]
        _, _, trailers = await raw.ask(_prefixed(_message().SerializeToString()))
        assert trailers["grpc-status"] == "0"


@in_loop
async def test_binary_and_unknown_metadata_are_passed_over() -> None:
    async with serving() as running, _channel(running) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        await stub.ModelInfer(_message(), metadata=(("trace-bin", b"\0\xff\x80"), ("other", "x"), ("a-bin", b"")))


@in_loop
async def test_words_of_any_script_reach_the_client_unharmed() -> None:
    async with serving() as running, client(running, "grpc-raw") as asker:
        answer = await asker.ask(Question("100 % größe \n 模型 😀", inputs=[image([1, 2, 3])]))
        assert "100 % größe \n 模型 😀" in answer.message


@in_loop
async def test_large_messages_pass_both_ways_and_come_back_bit_by_bit() -> None:
    size = 40 * MIB
    message = _big(size)
    async with serving() as running:
        for options in ({}, {"http2.lookahead_bytes": 16_384, "http2.bdp_probe": 0}):
            async with _channel(running, **options) as channel:
                answer = await service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message)
                assert answer.raw_output_contents[0] == message.raw_input_contents[0]
        async with _channel(running) as channel:
            stream = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([message]))
            only = [one async for one in stream]
            assert only[0].infer_response.raw_output_contents[0] == message.raw_input_contents[0]


@in_loop
async def test_requests_beyond_the_workers_memory_are_refused_and_all_of_it_is_given_back() -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    async with (
        serving(upstream, Limits(max_buffered_bytes=3 * MIB, drain_s=2.0)) as running,
        _channel(running) as channel,
    ):
        assert upstream.hold is not None
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        held = [asyncio.ensure_future(stub.ModelInfer(_big(MIB))) for _ in range(2)]
        await eventually(lambda: len(upstream.requests) == 2)
        for call in (stub.ModelInfer(_big(MIB)), stub.ModelInfer(_big(MIB))):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        upstream.hold.set()
        await asyncio.gather(*held)
        for _ in range(3):
            await stub.ModelInfer(_big(2 * MIB))
        budget = running.gateway._grpc._site.budget
        await eventually(lambda: budget.held_bytes == 0)


@in_loop
async def test_a_thousand_calls_at_once_over_several_connections_are_all_answered() -> None:
    upstream = FakeUpstream(delay_s=lambda: 0.2)
    async with serving(upstream, admission=_OPEN) as running:
        channels = [
            grpc.aio.insecure_channel(
                f"127.0.0.1:{running.gateway.grpc_port}", options=[("grpc.use_local_subchannel_pool", 1)]
            )
            for _ in range(5)
        ]
        stubs = [service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in channels]
        await stubs[0].ModelInfer(_message())
        answers = await asyncio.gather(*(stubs[n % 5].ModelInfer(_message(1 + n % 3)) for n in range(1000)))
        for number, answer in enumerate(answers):
            assert answer.raw_output_contents[0] == _message(1 + number % 3).raw_input_contents[0]
        for channel in channels:
            await channel.close()
        assert running.slab.in_flight == 0


@in_loop
async def test_a_cancelled_call_ends_its_request_and_the_others_of_its_connection_go_on() -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    async with serving(upstream, admission=_OPEN) as running, _channel(running) as channel:
        assert upstream.hold is not None
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls = [stub.ModelInfer(_message()) for _ in range(4)]
        waiting = [asyncio.ensure_future(call.code()) for call in calls]
        await eventually(lambda: len(upstream.requests) == 4)
        calls[0].cancel()
        calls[2].cancel()
        await eventually(lambda: upstream.cancelled == 2)
        assert running.slab.in_flight == 2
        upstream.hold.set()
        codes = [(await code).name for code in waiting]
        assert codes == ["CANCELLED", "OK", "CANCELLED", "OK"]
        assert running.count("request", outcome="cancelled") == 2


@pytest.mark.parametrize("service", ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"])
@in_loop
async def test_reflection_describes_every_service_in_both_versions(service: str) -> None:
    async with serving() as running, _channel(running) as channel:
        ask = channel.stream_stream(
            f"/{service}/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        questions = [reflection_pb2.ServerReflectionRequest(list_services="")]
        questions += [
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
            for symbol in ("inference.GRPCInferenceService", "grpc.health.v1.Health", "no.such.Thing") * 200
        ]
        answers = [answer async for answer in ask(iter(questions))]
        assert len(answers) == len(questions)
        listed = [one.name for one in answers[0].list_services_response.service]
        assert {"inference.GRPCInferenceService", "grpc.health.v1.Health", service} <= set(listed)
        described = descriptor_pb2.FileDescriptorProto.FromString(
            answers[1].file_descriptor_response.file_descriptor_proto[0]
        )
        assert "GRPCInferenceService" in [one.name for one in described.service]
        assert answers[3].error_response.error_code == 5


@in_loop
async def test_health_is_told_by_check_and_watch_and_watchers_are_limited() -> None:
    async with serving() as running, _channel(running) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
        named = health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService")
        assert (await health.Check(named)).status == 1
        watches = [health.Watch(named) for _ in range(64)]
        assert [(await watch.read()).status for watch in watches] == [1] * 64
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await health.Watch(named).read()
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        watches[0].cancel()
        again = None
        while again is None:
            try:
                again = await health.Watch(named).read()
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.01)
        assert again.status == 1


@pytest.mark.parametrize("algorithm", [None, "gzip", "deflate"])
@in_loop
async def test_the_official_client_works_unchanged(algorithm: str | None) -> None:
    async with serving() as running:
        triton = official.InferenceServerClient(f"127.0.0.1:{running.gateway.grpc_port}")
        async with triton:
            assert await triton.is_server_live()
            assert await triton.is_server_ready()
            assert await triton.is_model_ready("digits", "2")
            assert (await triton.get_model_metadata("pair")).inputs[0].name == "LEFT"
            assert (await triton.get_model_config("digits")).config.max_batch_size == 8
            given = official.InferInput("image", [1, 3], "FP32")
            given.set_data_from_numpy(np.array([[1, 2, 3]], np.float32))
            result = await triton.infer("digits", [given], request_id="17", compression_algorithm=algorithm)
            assert result.as_numpy("scores").tolist() == [[1, 2, 3]]
            assert result.get_response().id == "17"

            async def requests() -> AsyncIterator[dict[str, Any]]:
                for number in range(20):
                    yield {"model_name": "digits", "inputs": [given], "request_id": str(number)}

            answers = triton.stream_infer(requests(), compression_algorithm=algorithm)
            ids = [(result.get_response().id, error) async for result, error in answers]
            assert ids == [(str(number), None) for number in range(20)]


@in_loop
async def test_an_answer_that_nobody_takes_is_given_up_and_the_connection_goes_on() -> None:
    limits = Limits(write_grace_s=0.3, min_transfer_bytes_per_s=10_000_000, drain_s=2.0)
    async with serving(limits=limits) as running, _raw(running) as raw:
        raw.core.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10})
        with pytest.raises(AssertionError, match="StreamReset"):
            await raw.ask(_prefixed(_message().SerializeToString()), te="trailers")
        raw.core.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 65_535})
        _, _, trailers = await raw.ask(_prefixed(_message().SerializeToString()))
        assert trailers["grpc-status"] == "0"
        assert running.gateway._grpc._site.budget.held_bytes == 0


@in_loop
async def test_a_message_that_dribbles_is_refused_in_time() -> None:
    limits = Limits(body_grace_s=0.3, min_transfer_bytes_per_s=1_000_000, drain_s=2.0)
    async with serving(limits=limits) as running, _raw(running) as raw, _channel(running) as channel:
        stream = raw.begin(INFER)
        raw.core.send_data(stream, _prefixed(b"x" * 100)[:50])
        head, _, _ = await raw.outcome()
        assert head["grpc-status"] == "4"
        assert "complete" in head["grpc-message"]
        # A stream may be silent between its messages for as long as it likes.
        quiet = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer()
        for _ in range(2):
            await asyncio.sleep(0.7)
            await quiet.write(_message())
            assert not (await quiet.read()).error_message
        await quiet.done_writing()
        assert await quiet.code() is grpc.StatusCode.OK
