"""Every way to send nonsense: its status on both edges, words that help, and a Triton that never sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc
import numpy as np
import orjson
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from services.core.errors import Forbidden, InvalidRequest, NotFound, PayloadTooLarge, PenstockError
from services.core.inference import Parameter, RequestedOutput
from services.core.tensor import Tensor
from services.gateway.limits import Limits
from services.triton.http import HttpPool
from tests.fakes.gateway import Question, client, image, in_loop, serving

DIGITS = "'image' FP32 [-1, 3]"
GOOD = image([1, 2, 3])


def _ints(name: str, rows: int) -> Tensor:
    return Tensor(name, "INT32", (rows, 2), np.zeros(rows * 2, "<i4").tobytes())


def _texts(data: bytes, count: int) -> Tensor:
    return Tensor("BYTES", "BYTES", (1, count), data)


@dataclass
class Row:
    """One bad request, in terms that both protocols have."""

    name: str
    says: tuple[str, ...]
    inputs: list[Tensor] = field(default_factory=lambda: [GOOD])
    model: str = "digits"
    version: str = ""
    outputs: list[RequestedOutput] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    error: type[PenstockError] = InvalidRequest


ROWS = [
    Row("unknown model", ("'nobody'", "digits, echo, pair"), model="nobody", error=NotFound),
    Row("unknown version", ("version 9", "1, 2"), version="9", error=NotFound),
    Row("version that is no number", ("'latest'",), version="latest", error=NotFound),
    Row("no inputs", ("missing", DIGITS), inputs=[]),
    Row("unknown input", ("'picture'", DIGITS), inputs=[Tensor("picture", "FP32", (1, 3), b"\0" * 12)]),
    Row("an input too many", ("'more'", DIGITS), inputs=[GOOD, Tensor("more", "FP32", (1, 3), b"\0" * 12)]),
    Row("an input twice", ("twice", DIGITS), inputs=[GOOD, GOOD]),
    Row("one of two inputs", ("'RIGHT'", "missing", "'LEFT' INT32"), model="pair", inputs=[_ints("LEFT", 1)]),
    Row("wrong datatype", ("FP64", "expected FP32", DIGITS), inputs=[Tensor("image", "FP64", (1, 3), b"\0" * 24)]),
    Row("datatype that does not exist", ("FLOAT", "FP32"), inputs=[Tensor("image", "FLOAT", (1, 3), b"\0" * 12)]),
    Row("too few dimensions", ("[3]", "1 dimension", "[-1, 3]"), inputs=[Tensor("image", "FP32", (3,), b"\0" * 12)]),
    Row("too many dimensions", ("[1, 1, 3]",), inputs=[Tensor("image", "FP32", (1, 1, 3), b"\0" * 12)]),
    Row("a dimension too large", ("[1, 4]", "[-1, 3]"), inputs=[Tensor("image", "FP32", (1, 4), b"\0" * 16)]),
    Row("batch too large", ("batch size 9", "1 to 8"), inputs=[Tensor("image", "FP32", (9, 3), b"\0" * 108)]),
    Row("empty batch", ("batch size 0", "1 to 8"), inputs=[Tensor("image", "FP32", (0, 3), b"")]),
    Row("negative dimension", ("negative",), inputs=[Tensor("image", "FP32", (-1, 3), b"\0" * 12)]),
    Row("product that overflows 64 bits", ("elements",), inputs=[Tensor("image", "FP32", (1 << 62, 1 << 62), b"\0")]),
    Row("product that wraps to the right size", ("elements",), inputs=[Tensor("image", "FP32", (1 << 62, 3), b"")]),
    Row("nothing of too much", ("elements",), model="echo", inputs=[Tensor("FP32", "FP32", (0, 1 << 61), b"")]),
    Row(
        "classes of nothing",
        ("'FP32'", "no elements"),
        model="echo",
        inputs=[Tensor("FP32", "FP32", (1, 0), b"")],
        outputs=[RequestedOutput("FP32", 2)],
    ),
    Row("too few bytes", ("11 bytes", "needs 12"), inputs=[Tensor("image", "FP32", (1, 3), b"\0" * 11)]),
    Row("too many bytes", ("16 bytes", "needs 12"), inputs=[Tensor("image", "FP32", (1, 3), b"\0" * 16)]),
    Row("unequal batches", ("batch size 2",), model="pair", inputs=[_ints("LEFT", 1), _ints("RIGHT", 2)]),
    Row("text too long", ("reaches beyond",), model="echo", inputs=[_texts(b"\xff\xff\xff\xffabc", 1)]),
    Row("text cut in its length", ("length prefix",), model="echo", inputs=[_texts(b"\0\0\0\0\0\0", 2)]),
    Row("too few texts", ("1 BYTES element", "needs 3"), model="echo", inputs=[_texts(b"\x01\0\0\0a", 3)]),
    Row("unknown output", ("'best'", "'scores'"), outputs=[RequestedOutput("best")]),
    Row(
        "classes of text",
        ("BYTES", "classification"),
        model="echo",
        inputs=[_texts(b"\x01\0\0\0a", 1)],
        outputs=[RequestedOutput("BYTES", 2)],
    ),
    Row("negative number of classes", ("-1",), outputs=[RequestedOutput("scores", -1)]),
    Row("negative timeout", ("'timeout'",), parameters={"timeout": -1}),
    Row("priority that is text", ("'priority'",), parameters={"priority": "high"}),
    Row("sequence start that is a number", ("'sequence_start'",), parameters={"sequence_start": 1}),
    Row("parameter of Triton's own", ("'triton_secret'",), parameters={"triton_secret": True}),
    Row("routing key that is no text", ("'routing_key'",), parameters={"routing_key": True}),
]


@pytest.mark.parametrize("form", ["rest-binary", "grpc-raw"])
@in_loop
async def test_what_does_not_fit_the_model_is_refused_with_words_and_never_forwarded(form: str) -> None:
    async with serving() as running, client(running, form) as asker:
        for row in ROWS:
            question = Question(
                row.model, row.inputs, version=row.version, outputs=row.outputs, parameters=row.parameters
            )
            answer = await asker.ask(question)
            assert asker.is_error(answer, row.error), (row.name, answer)
            for words in row.says:
                assert words in answer.message, (row.name, answer.message)
            assert not running.upstream.requests, row.name
            # The connection and the worker are as good as before.
            assert (await asker.ask(Question(inputs=[GOOD]))).message == "", row.name
            running.upstream.requests.clear()


def _json(**fields: object) -> bytes:
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]} | fields
    return orjson.dumps({"inputs": [tensor]})


def _echo(datatype: str, data: object, shape: object = (1, 2)) -> bytes:
    return orjson.dumps({"inputs": [{"name": datatype, "datatype": datatype, "shape": shape, "data": data}]})


DEEP = b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
LENGTH = "Inference-Header-Content-Length"

REST_ROWS: list[tuple[str, str, bytes, dict[str, str], int, str]] = [
    ("empty body", "digits", b"", {}, 400, "JSON"),
    ("no JSON", "digits", b"{bad", {}, 400, "JSON"),
    ("a list", "digits", b"[]", {}, 400, "object"),
    ("deep JSON", "digits", DEEP, {}, 400, "JSON"),
    ("deep JSON with NaN", "digits", DEEP + b"NaN", {}, 400, "JSON"),
    ("invalid UTF-8", "digits", b'{"id":"\xff"}', {}, 400, "JSON"),
    ("lone surrogate", "digits", b'{"id":"\\ud800"}', {}, 400, "JSON"),
    ("inputs missing", "digits", b"{}", {}, 400, "'inputs' is missing"),
    ("inputs that are no list", "digits", b'{"inputs":{}}', {}, 400, "expected a list"),
    ("input that is no object", "digits", b'{"inputs":[1]}', {}, 400, "inputs[0]"),
    ("name missing", "digits", b'{"inputs":[{}]}', {}, 400, "inputs[0].name"),
    ("name that is a number", "digits", _json(name=1), {}, 400, "inputs[0].name"),
    ("shape missing", "digits", _json(shape=None), {}, 400, "inputs[0].shape"),
    ("shape with a fraction", "digits", _json(shape=[1.0, 3]), {}, 400, "integers"),
    ("shape with true", "digits", _json(shape=[True, 3]), {}, 400, "integers"),
    ("datatype missing", "digits", _json(datatype=None), {}, 400, "inputs[0].datatype"),
    ("data missing", "digits", _json(data=None), {}, 400, "inputs[0].data"),
    ("data that is no list", "digits", _json(data=5), {}, 400, "expected a list"),
    ("too few elements", "digits", _json(data=[1, 2]), {}, 400, "holds 2 elements"),
    ("too many elements", "digits", _json(data=[1, 2, 3, 4]), {}, 400, "holds 4 elements"),
    ("ragged", "digits", _json(shape=[2, 3], data=[[1, 2, 3], [4, 5]]), {}, 400, "holds 5 elements"),
    ("half nested", "digits", _json(shape=[2, 3], data=[[1, 2, 3], 4]), {}, 400, "holds 4 elements"),
    ("text for numbers", "digits", _json(data=["1", "2", "3"]), {}, 400, "text"),
    ("null for numbers", "digits", _json(data=[1, None, 3]), {}, 400, "null"),
    ("true for numbers", "digits", _json(data=[True, 2, 3]), {}, 400, "true"),
    ("number beyond FP32", "digits", _json(data=[1e39, 2, 3]), {}, 400, "range of FP32"),
    ("INT8 too large", "echo", _echo("INT8", [128, 1]), {}, 400, "range of INT8"),
    ("UINT8 negative", "echo", _echo("UINT8", [-1, 1]), {}, 400, "range of UINT8"),
    ("UINT64 too large", "echo", (b'{"inputs":[{"name":"UINT64","datatype":"UINT64","shape":[1,1],'
     b'"data":[18446744073709551616]}]}'), {}, 400, "64 bits"),
    ("INT64 too large", "echo", _echo("INT64", [1 << 63, 1]), {}, 400, "range of INT64"),
    ("fraction for integers", "echo", _echo("INT32", [1.5, 2]), {}, 400, "integers"),
    ("true for integers", "echo", _echo("INT32", [True, 2]), {}, 400, "integers"),
    ("numbers for true and false", "echo", _echo("BOOL", [1, 0]), {}, 400, "true or false"),
    ("numbers for text", "echo", _echo("BYTES", [1, 0]), {}, 400, "text"),
    ("half precision as JSON", "echo", _echo("FP16", [1, 0]), {}, 400, "binary"),
    ("brain floats as JSON", "echo", _echo("BF16", [1, 0]), {}, 400, "binary"),
    ("id that is a number", "digits", orjson.dumps({"id": 7, "inputs": []}), {}, 400, "id"),
    ("parameters that are a list", "digits", orjson.dumps({"parameters": [], "inputs": []}), {}, 400, "object"),
    ("parameter that is a list", "digits", orjson.dumps({"parameters": {"a": []}, "inputs": []}), {}, 400, "'a'"),
    ("outputs that are an object", "digits", orjson.dumps({"outputs": {}, "inputs": []}), {}, 400, "'outputs'"),
    ("output without a name", "digits", orjson.dumps({"outputs": [{}], "inputs": []}), {}, 400, "name"),
    ("lone surrogate beside NaN", "echo",
     _echo("BYTES", ["x", "NaN"]).replace(b"x", b"\\ud800"), {}, 400, "surrogate"),
    ("parameter that is no number", "digits",
     _json().replace(b'{"inp', b'{"parameters":{"a":NaN},"inp'), {}, 400, "'a'"),
    ("another Unicode beside NaN", "digits", '{"id":"NaN"}'.encode("utf-16"), {}, 400, "JSON"),
    ("deep id beside NaN", "digits", b'{"NaN":0,"inputs":[],"id":' + b"[" * 60 + b"]" * 60 + b"}", {}, 400, "id"),
    ("null", "digits", b"null", {}, 400, "null"),
    ("too many inputs", "digits", orjson.dumps({"inputs": [{}] * 300}), {}, 400, "at most 256"),
    ("too many outputs", "digits", orjson.dumps({"inputs": [], "outputs": [{}] * 300}), {}, 400, "at most 256"),
    ("too many dimensions", "digits", _json(shape=[1] * 40), {}, 400, "at most 32"),
    ("too many parameters of an input", "digits",
     _json(parameters={str(number): 1 for number in range(200)}), {}, 400, "at most 128"),
    ("header length that is no number", "digits", _json(), {LENGTH: "abc"}, 400, LENGTH),
    ("header length beyond the body", "digits", _json(), {LENGTH: "9999"}, 400, LENGTH),
    ("negative header length", "digits", _json(), {LENGTH: "-1"}, 400, LENGTH),
    ("bytes after JSON", "digits", _json() + b"\0" * 4, {LENGTH: str(len(_json()))}, 400, "4 bytes follow"),
    ("binary size beyond the body", "digits",
     _json(data=None, parameters={"binary_data_size": 12}), {}, 400, "data"),
    ("negative binary size", "digits", _json(parameters={"binary_data_size": -4}), {}, 400, "binary_data_size"),
    ("a coding that is not served", "digits", b"\x1f\x8b", {"Content-Encoding": "br"}, 415, "gzip"),
    ("gzip cut off", "digits", b"\x1f\x8b", {"Content-Encoding": "gzip"}, 400, "ends too early"),
    ("shared memory in", "digits", _json(parameters={"shared_memory_region": "x"}), {}, 403, "shared memory"),
    ("shared memory out", "digits", orjson.dumps(
        {"inputs": [], "outputs": [{"name": "scores", "parameters": {"shared_memory_region": "x"}}]}),
     {}, 403, "shared memory"),
]  # fmt: skip


@in_loop
async def test_malformed_rest_requests_are_refused_with_words_and_never_forwarded() -> None:
    async with serving() as running:
        pool = HttpPool("127.0.0.1", running.gateway.http_port)
        for name, model, body, headers, status, words in REST_ROWS:
            response = await pool.request("POST", f"/v2/models/{model}/infer", headers, [body], 10.0)
            document = orjson.loads(response.body)
            assert response.status == status, (name, response.body)
            assert list(document) == ["error"], name
            assert words in document["error"], (name, document)
            assert response.headers[b"content-type"] == b"application/json"
            assert not running.upstream.requests, name
        await pool.aclose()
        assert running.count("request", protocol="rest") == len(REST_ROWS)


@in_loop
async def test_a_body_over_the_limit_is_refused_before_it_is_read_and_the_client_reads_why() -> None:
    async with serving(limits=Limits(max_body_bytes=1000, drain_s=2.0)) as running:
        pool = HttpPool("127.0.0.1", running.gateway.http_port)
        for size in (1001, 3_000_000):
            response = await pool.request("POST", "/v2/models/digits/infer", {}, [b" " * size], 10.0)
            assert response.status == 413
            assert b"1000" in response.body
        fits = await pool.request("POST", "/v2/models/digits/infer", {}, [b" " * 1000], 10.0)
        assert fits.status == 400
        await pool.aclose()
        assert not running.upstream.requests
        assert running.count("request", model="digits", outcome="too_large") == 2


def _message(**fields: object) -> service_pb2.ModelInferRequest:
    message = service_pb2.ModelInferRequest(model_name="digits")
    message.inputs.add(name="image", datatype="FP32", shape=[1, 3], **fields)
    return message


def _two_raws() -> service_pb2.ModelInferRequest:
    message = _message()
    message.raw_input_contents.extend([b"\0" * 12, b"\0" * 12])
    return message


def _both() -> service_pb2.ModelInferRequest:
    message = _message(contents=service_pb2.InferTensorContents(fp32_contents=[1, 2, 3]))
    message.raw_input_contents.append(b"\0" * 12)
    return message


def _parameters(**values: object) -> service_pb2.ModelInferRequest:
    message = _message()
    message.raw_input_contents.append(b"\0" * 12)
    for name, value in values.items():
        message.parameters[name].CopyFrom(value)
    return message


def _typed(datatype: str, contents: dict[str, object]) -> service_pb2.ModelInferRequest:
    message = service_pb2.ModelInferRequest(model_name="echo")
    message.inputs.add(
        name=datatype, datatype=datatype, shape=[1, 2], contents=service_pb2.InferTensorContents(**contents)
    )
    return message


SHARED = {"shared_memory_region": service_pb2.InferParameter(string_param="x")}
GRPC_ROWS: list[tuple[str, service_pb2.ModelInferRequest, type[PenstockError], str]] = [
    ("no contents", _message(), InvalidRequest, "holds 0 elements"),
    ("more raw contents than inputs", _two_raws(), InvalidRequest, "2 entries for 1 input"),
    ("contents of both kinds", _both(), InvalidRequest, "one of them"),
    ("INT8 too large", _typed("INT8", {"int_contents": [300, 1]}), InvalidRequest, "range of INT8"),
    ("UINT16 too large", _typed("UINT16", {"uint_contents": [70000, 1]}), InvalidRequest, "range of UINT16"),
    ("contents in another field", _typed("INT64", {"int_contents": [1, 2]}), InvalidRequest, "int64_contents"),
    ("contents in two fields", _typed("FP32", {"fp32_contents": [1, 2], "int_contents": [1]}),
     InvalidRequest, "int_contents"),
    ("too few elements", _typed("FP32", {"fp32_contents": [1]}), InvalidRequest, "holds 1 elements"),
    ("half precision with typed contents", _typed("FP16", {"fp32_contents": [1, 2]}), InvalidRequest, "raw"),
    ("parameter without a value", _parameters(x=service_pb2.InferParameter()), InvalidRequest, "'x'"),
    ("shared memory", _message(parameters=SHARED), Forbidden, "shared memory"),
]  # fmt: skip


@in_loop
async def test_malformed_grpc_requests_are_refused_with_words_and_never_forwarded() -> None:
    async with serving() as running, client(running, "grpc-raw") as asker:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.gateway.grpc_port}") as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            for name, message, error, words in GRPC_ROWS:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stub.ModelInfer(message)
                assert refused.value.code().value[0] == _code(error), name
                assert words in (refused.value.details() or ""), (name, refused.value.details())
                assert not running.upstream.requests, name
        assert (await asker.ask(Question(inputs=[GOOD]))).message == ""


def _code(error: type[PenstockError]) -> int:
    from services.core.errors import STATUS

    return STATUS[error].grpc


@in_loop
async def test_a_grpc_message_over_the_limit_is_refused() -> None:
    async with (
        serving(limits=Limits(max_body_bytes=1000, drain_s=2.0)) as running,
        client(running, "grpc-raw") as asker,
    ):
        answer = await asker.ask(Question(inputs=[Tensor("image", "FP32", (1, 3), b"\0" * 5000)]))
        assert asker.is_error(answer, PayloadTooLarge)
        assert not running.upstream.requests


@in_loop
async def test_nan_and_infinity_pass_through_json_as_triton_writes_them() -> None:
    async with serving() as running:
        pool = HttpPool("127.0.0.1", running.gateway.http_port)
        body = b'{"inputs":[{"name":"FP32","datatype":"FP32","shape":[1,3],"data":[NaN,Infinity,-Infinity]}]}'
        response = await pool.request("POST", "/v2/models/echo/infer", {}, [body], 10.0)
        assert response.status == 200
        assert b'"data":[NaN, Infinity, -Infinity]' in response.body
        await pool.aclose()


@in_loop
async def test_json_has_the_exact_value_of_a_float() -> None:
    async with serving() as running:
        pool = HttpPool("127.0.0.1", running.gateway.http_port)
        response = await pool.request("POST", "/v2/models/digits/infer", {}, [_json(data=[0.1, 2, 3])], 10.0)
        assert orjson.loads(response.body)["outputs"][0]["data"] == [float(np.float32(0.1)), 2.0, 3.0]
        await pool.aclose()


@in_loop
async def test_output_that_json_cannot_carry_is_refused_with_the_way_out() -> None:
    tensor = Tensor("BYTES", "BYTES", (1, 1), b"\x01\0\0\0\xff")
    async with serving() as running:
        pool = HttpPool("127.0.0.1", running.gateway.http_port)
        head = orjson.dumps(
            {
                "inputs": [
                    {"name": t.name, "datatype": t.datatype, "shape": t.shape, "parameters": {"binary_data_size": 5}}
                    for t in [tensor]
                ]
            }
        )
        response = await pool.request(
            "POST", "/v2/models/echo/infer", {LENGTH: str(len(head))}, [head, tensor.data], 10.0
        )
        assert response.status == 400
        assert b"binary_data" in response.body
        await pool.aclose()


@in_loop
async def test_bytes_that_are_no_protobuf_are_refused_and_counted_as_a_mistake_of_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as running:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.gateway.grpc_port}") as channel:
            for method in ("inference.GRPCInferenceService/ModelInfer", "inference.GRPCInferenceService/ModelMetadata",
                           "grpc.health.v1.Health/Check"):  # fmt: skip
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await channel.unary_unary(f"/{method}")(b"\xff\xff\xff")
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert method.rpartition("/")[2] in (refused.value.details() or "")
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"\xff\xff\xff")
            assert await watch.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert running.count("request", protocol="grpc", model="", outcome="invalid_argument") == 1
    assert not caplog.records


@pytest.mark.parametrize("character", ["m", "\u00e9", "\U0001f600", "\n"])
@pytest.mark.parametrize("form", ["rest-binary", "grpc-raw"])
@in_loop
async def test_a_name_of_any_length_is_refused_with_words_that_every_client_can_receive(
    form: str, character: str
) -> None:
    name = character * 50_000
    async with serving() as running, client(running, form) as asker:
        for question, error in (
            (Question(inputs=[Tensor(name, "FP32", (1, 3), b"\0" * 12)]), InvalidRequest),
            (Question(inputs=[GOOD], outputs=[RequestedOutput(name)]), InvalidRequest),
            (Question(inputs=[Tensor("image", "FP32", (1,) * 32, b"\0" * 4)]), InvalidRequest),
        ):
            answer = await asker.ask(question)
            assert asker.is_error(answer, error), answer.message[:200]
            assert 20 < len(answer.message) <= 2000
            assert "digits" in answer.message
        assert not running.upstream.requests
