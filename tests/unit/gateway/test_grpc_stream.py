"""ModelStreamInfer: order, decoupled responses, errors, back pressure, ends."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as official
from tritonclient.grpc import service_pb2, service_pb2_grpc

from services.core.errors import UpstreamFailure
from services.core.inference import InferRequest, InferResponse
from services.gateway.admission import AdmissionSettings
from services.gateway.limits import Limits
from tests.fakes.gateway import Running, eventually, in_loop, serving
from tests.fakes.upstream import FakeUpstream

_OPEN = AdmissionSettings(fixed_limit=300)
MIB = 1024 * 1024


@asynccontextmanager
async def _stub(running: Running) -> AsyncIterator[Any]:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.gateway.grpc_port}", options=options) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def _digits(id_: str, value: float = 1.0, **parameters: bool) -> Any:
    message = service_pb2.ModelInferRequest(model_name="digits", id=id_)
    message.inputs.add(name="image", datatype="FP32", shape=[1, 3])
    message.raw_input_contents.append(np.array([value, 0, 0], "<f4").tobytes())
    for name, given in parameters.items():
        message.parameters[name].bool_param = given
    return message


def _repeat(id_: str, count: int, *, final: bool = False) -> Any:
    message = service_pb2.ModelInferRequest(model_name="repeat", id=id_)
    message.inputs.add(name="N", datatype="INT32", shape=[count])
    message.raw_input_contents.append(np.arange(count, dtype="<i4").tobytes())
    if final:
        message.parameters["triton_enable_empty_final_response"].bool_param = True
    return message


def _told(answer: Any) -> tuple[str, str, int, bool | None]:
    """Return id, error, number of outputs and whether the response says that it is the last one."""
    found = answer.infer_response
    final = (
        found.parameters["triton_final_response"].bool_param if "triton_final_response" in found.parameters else None
    )
    return found.id, answer.error_message, len(found.outputs), final


@in_loop
async def test_responses_come_in_the_order_of_their_requests_whichever_is_ready_first() -> None:
    delays = iter([0.3, 0.0, 0.2, 0.0, 0.1, 0.0])
    async with serving(FakeUpstream(delay_s=lambda: next(delays)), admission=_OPEN) as running, _stub(running) as stub:
        answers = [one async for one in stub.ModelStreamInfer(iter([_digits(str(n), n) for n in range(6)]))]
        assert [_told(one) for one in answers] == [(str(n), "", 1, True) for n in range(6)]
        values = [np.frombuffer(one.infer_response.raw_output_contents[0], "<f4")[0] for one in answers]
        assert values == list(range(6))
        assert running.count("request", protocol="grpc", model="digits", outcome="ok") == 6


@in_loop
async def test_a_decoupled_model_answers_as_often_as_it_likes_and_its_end_is_told_to_those_who_ask() -> None:
    async with serving(admission=_OPEN) as running, _stub(running) as stub:
        for count in (0, 1, 5):
            plain = [_told(one) async for one in stub.ModelStreamInfer(iter([_repeat("a", count)]))]
            assert plain == [("a", "", 1, False)] * count
            told = [_told(one) async for one in stub.ModelStreamInfer(iter([_repeat("b", count, final=True)]))]
            assert told == [("b", "", 1, False)] * count + [("b", "", 0, True)]


@in_loop
async def test_the_official_client_streams_as_from_triton() -> None:
    async with serving(admission=_OPEN) as running:
        found = await asyncio.to_thread(_official_stream, f"127.0.0.1:{running.gateway.grpc_port}")
        assert found == [("many", False)] * 3 + [("many", True), ("wrong", "FP64")]


def _official_stream(target: str) -> list[tuple[str, object]]:
    found: queue.Queue[tuple[str, object]] = queue.Queue()

    def took(result: Any, error: Any) -> None:
        if error is not None:
            found.put(("wrong", "FP64" if "FP64" in str(error) else str(error)))
            return
        response = result.get_response()
        found.put((response.id, response.parameters["triton_final_response"].bool_param))

    numbers = official.InferInput("N", [3], "INT32")
    numbers.set_data_from_numpy(np.arange(3, dtype=np.int32))
    image = official.InferInput("image", [1, 3], "FP64")
    image.set_data_from_numpy(np.zeros((1, 3)))
    with official.InferenceServerClient(target) as client:
        client.start_stream(took, compression_algorithm="gzip")
        client.async_stream_infer("repeat", [numbers], request_id="many", enable_empty_final_response=True)
        answers = [found.get(timeout=10) for _ in range(4)]
        client.async_stream_infer("digits", [image], request_id="wrong")
        answers.append(found.get(timeout=10))
        client.stop_stream()
    return answers


@in_loop
async def test_others_do_not_wait_for_a_decoupled_request() -> None:
    upstream = SlowRepeat()
    async with serving(upstream, admission=_OPEN) as running, _stub(running) as stub:
        stream = stub.ModelStreamInfer()
        await stream.write(_repeat("long", 2))
        await eventually(lambda: upstream.streaming)
        assert _told(await stream.read()) == ("long", "", 1, False)
        await stream.write(_digits("short"))
        await stream.write(_digits("shorter"))
        assert [_told(await stream.read())[0] for _ in range(2)] == ["short", "shorter"]
        upstream.go_on.set()
        assert _told(await stream.read()) == ("long", "", 1, False)
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF


@dataclass
class SlowRepeat(FakeUpstream):
    """Stops after the first response of a stream, until it is told to go on.

    Attributes:
        go_on: What it waits for.
        streaming: Streams that began.
        closed: Streams that were ended early.
    """

    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    streaming: int = 0
    closed: int = 0

    async def stream(self, request: InferRequest, version: int, timeout_s: float) -> Any:
        self.streaming += 1
        try:
            first = True
            async for response in super().stream(request, version, timeout_s):
                yield response
                if first:
                    await self.go_on.wait()
                    first = False
        except (asyncio.CancelledError, GeneratorExit):
            self.closed += 1
            raise


@dataclass
class Flood(FakeUpstream):
    """Answers a decoupled request with one large response after the other.

    Attributes:
        given: Responses that were taken from it.
    """

    given: int = 0

    async def stream(self, request: InferRequest, version: int, timeout_s: float) -> Any:
        response = await self.infer(request, version, timeout_s)
        tensor = response.outputs[0]
        tensor.shape, tensor.data = (MIB // 4,), bytes(MIB)
        for _ in range(200):
            self.given += 1
            yield InferResponse(request.model, version, request.id, [tensor], final=False)
        yield InferResponse(request.model, version, request.id, [])


@in_loop
async def test_errors_are_messages_with_their_requests_id_and_the_stream_goes_on() -> None:
    async with serving(admission=_OPEN) as running, _stub(running) as stub:
        wrong = _digits("wrong")
        wrong.inputs[0].datatype = "FP64"
        nobody = service_pb2.ModelInferRequest(model_name="nobody", id="nobody")
        version = service_pb2.ModelInferRequest(model_name="digits", model_version="x", id="version")
        sent = [_digits("1"), wrong, nobody, _digits("2"), version]
        answers = [one async for one in stub.ModelStreamInfer(iter(sent))]
        assert [one.infer_response.id for one in answers] == ["1", "wrong", "nobody", "2", "version"]
        assert running.count("request", protocol="grpc", model="digits", outcome="not_found") == 1
        assert "FP64" in answers[1].error_message
        assert "'nobody'" in answers[2].error_message
        assert not answers[1].infer_response.parameters
        assert [_told(answers[n]) for n in (0, 3)] == [("1", "", 1, True), ("2", "", 1, True)]


@in_loop
async def test_a_failure_of_the_model_says_which_model_and_whether_more_follows() -> None:
    upstream = FakeUpstream(error=None)
    async with serving(upstream, admission=_OPEN) as running, _stub(running) as stub:
        async for _ in stub.ModelStreamInfer(iter([_digits("first"), _repeat("first", 0)])):
            pass
        upstream.error = UpstreamFailure("the model failed")
        for metadata in ((), (("triton_grpc_error", "false"),)):
            answers = [one async for one in stub.ModelStreamInfer(iter([_digits("a")]), metadata=metadata)]
            assert [_told(one) for one in answers] == [("a", "the model failed", 0, True)]
            assert answers[0].infer_response.model_name == "digits"
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            async for _ in stub.ModelStreamInfer(iter([_digits("a")]), metadata=(("triton_grpc_error", "true"),)):
                pass
        assert failed.value.code() is grpc.StatusCode.INTERNAL
        assert failed.value.details() == "the model failed"


@in_loop
async def test_no_more_requests_are_read_than_are_worked_on() -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    limits = Limits(max_stream_in_flight=4, drain_s=2.0)
    async with serving(upstream, limits, admission=_OPEN) as running, _stub(running) as stub:
        assert upstream.hold is not None
        stream = stub.ModelStreamInfer(iter([_digits(str(n)) for n in range(200)]))
        await eventually(lambda: len(upstream.requests) == 4)
        await asyncio.sleep(0.2)
        assert len(upstream.requests) == 4
        upstream.hold.set()
        assert [_told(one)[0] async for one in stream] == [str(n) for n in range(200)]


@in_loop
async def test_a_client_that_sends_without_reading_is_held_back_by_its_window() -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    limits = Limits(max_stream_in_flight=1, drain_s=2.0)
    async with serving(upstream, limits, admission=_OPEN) as running, _stub(running) as stub:
        assert upstream.hold is not None
        big = service_pb2.ModelInferRequest(model_name="echo")
        big.inputs.add(name="UINT8", datatype="UINT8", shape=[1, 300_000])
        big.raw_input_contents.append(bytes(300_000))
        stream = stub.ModelStreamInfer(iter([big] * 40))
        answers = asyncio.ensure_future(_all(stream))
        await eventually(lambda: upstream.requests)
        await asyncio.sleep(0.3)
        assert running.gateway._grpc._site.budget.held_bytes < 3 * MIB
        upstream.hold.set()
        assert len(await answers) == 40
        assert running.gateway._grpc._site.budget.held_bytes == 0


async def _all(stream: Any) -> list[Any]:
    return [one async for one in stream]


@in_loop
async def test_a_client_that_does_not_read_slows_the_model_down() -> None:
    upstream = Flood()
    limits = Limits(write_grace_s=30.0, drain_s=2.0)
    async with serving(upstream, limits, admission=_OPEN) as running:
        options = [("grpc.http2.lookahead_bytes", 65_536), ("grpc.http2.bdp_probe", 0),
                   ("grpc.max_receive_message_length", -1)]  # fmt: skip
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.gateway.grpc_port}", options=options) as channel:
            stream = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([_repeat("x", 1)]))
            await eventually(lambda: upstream.given)
            await asyncio.sleep(0.4)
            assert upstream.given < 40
            assert len(await _all(stream)) == 200


@in_loop
async def test_a_cancelled_stream_ends_every_request_in_it() -> None:
    upstream = SlowRepeat(hold=None)
    async with serving(upstream, admission=_OPEN) as running, _stub(running) as stub:
        stream = stub.ModelStreamInfer()
        for number in range(5):
            await stream.write(_repeat(str(number), 3))
        await eventually(lambda: upstream.streaming == 5)
        stream.cancel()
        await eventually(lambda: upstream.closed == 5)
        await eventually(lambda: running.slab.in_flight == 0)
        await eventually(lambda: running.count("request", outcome="cancelled") == 5)
        assert running.gateway._grpc._site.budget.held_bytes == 0


@in_loop
async def test_a_stream_without_requests_ends_well_and_an_open_one_is_ended_by_the_drain() -> None:
    async with serving(limits=Limits(drain_s=0.5)) as running, _stub(running) as stub:
        assert await _all(stub.ModelStreamInfer(iter([]))) == []
        stream = stub.ModelStreamInfer()
        await stream.write(_digits("1"))
        assert _told(await stream.read())[0] == "1"
        await running.gateway.stop()
        assert await stream.code() is grpc.StatusCode.UNAVAILABLE


@in_loop
async def test_what_is_no_request_is_an_error_message_and_what_is_no_message_ends_the_stream() -> None:
    limits = Limits(max_body_bytes=1024, drain_s=2.0)
    async with serving(limits=limits) as running:
        target = f"127.0.0.1:{running.gateway.grpc_port}"
        async with grpc.aio.insecure_channel(target) as channel:
            call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
            sent = [b"\xff\xff", _digits("good").SerializeToString()]
            answers = [service_pb2.ModelStreamInferResponse.FromString(one) async for one in call(iter(sent))]
            assert "protobuf" in answers[0].error_message
            assert _told(answers[1])[0] == "good"
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await _all(call(iter([b"x" * 2000])))
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "2000 bytes" in (refused.value.details() or "")
