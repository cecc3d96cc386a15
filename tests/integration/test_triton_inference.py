"""Inference on a real Triton through ``TritonUpstream``."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from services.core.errors import InvalidRequest, Unavailable, UpstreamFailure
from services.core.inference import InferRequest, InferResponse, RequestedOutput
from services.core.tensor import Tensor
from tests.fakes import aio
from tests.fakes.onnx_repository import DATATYPES
from tests.fakes.running_triton import RunningTriton

pytestmark = pytest.mark.integration

Array = NDArray[Any]


def infer(triton: RunningTriton, request: InferRequest, version: int = 1) -> InferResponse:
    async def once() -> InferResponse:
        async with triton.upstream() as upstream:
            return await upstream.infer(request, version, 20.0)

    return aio.run(once())


def fp32(name: str, array: Array) -> Tensor:
    return Tensor(name, "FP32", array.shape, array.astype("<f4").tobytes())


def values_of(datatype: str, rows: int, columns: int) -> Array:
    """Every kind of value that a datatype has, its extremes included."""
    if datatype == "STRING":
        words = [b"", "grüße".encode(), "\N{WATER WAVE}".encode(), b"a" * 1000, b"null\0byte", b"x"]
        texts: Array = np.array([words[i % len(words)] for i in range(rows * columns)], object)
        return texts.reshape(rows, columns)
    if datatype == "BOOL":
        return np.resize(np.array([True, False]), (rows, columns))
    if datatype.startswith("FP"):
        kind = np.dtype(f"float{datatype.removeprefix('FP')}")
        floats = [np.finfo(kind).min, np.finfo(kind).tiny, 0.1, np.nan, np.inf, -0.0]
        return np.resize(np.array(floats, kind), (rows, columns))
    kind = np.dtype(datatype.lower())
    return np.resize(np.array([np.iinfo(kind).min, np.iinfo(kind).max, 0, 1], kind), (rows, columns))


def to_tensor(name: str, datatype: str, array: Array) -> Tensor:
    if datatype == "STRING":
        data = serialize_byte_tensor(array).item() if array.size else b""
        return Tensor(name, "BYTES", array.shape, data)
    return Tensor(name, datatype, array.shape, array.tobytes())


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 7), (4, 0)])
def test_every_datatype_comes_back_bit_for_bit(triton: RunningTriton, rows: int, columns: int) -> None:
    sent = {name: to_tensor(f"in_{name}", name, values_of(name, rows, columns)) for name in DATATYPES.values()}
    answer = infer(triton, InferRequest("every_datatype", id="mine", inputs=list(sent.values())))
    got = {tensor.name.removeprefix("out_"): tensor for tensor in answer.outputs}
    assert answer.id == "mine"
    assert answer.version == 1
    assert set(got) == set(sent)
    for name, tensor in sent.items():
        assert got[name].shape == tensor.shape, name
        assert got[name].datatype == tensor.datatype, name
        assert bytes(got[name].data) == bytes(tensor.data), name


def test_a_large_tensor_comes_back_bit_for_bit(triton: RunningTriton) -> None:
    array = np.random.default_rng(0).standard_normal((1024, 4096)).astype(np.float32)
    answer = infer(triton, InferRequest("unbatched", inputs=[fp32("X", array)]))
    assert bytes(answer.outputs[0].data) == array.tobytes()


def test_the_version_that_was_asked_for_answers(triton: RunningTriton) -> None:
    request = InferRequest("scale", inputs=[fp32("X", np.ones((2, 4)))])
    for version in (1, 2):
        answer = infer(triton, request, version)
        assert answer.version == version
        assert np.frombuffer(answer.outputs[0].data, np.float32).tolist() == [version] * 8


def test_only_the_outputs_that_were_asked_for_are_answered_in_that_form(triton: RunningTriton) -> None:
    features = fp32("features", np.array([[0.1, 0.7, 0.2]]))
    wanted = [RequestedOutput("scores", classes=2)]
    answer = infer(triton, InferRequest("classes", inputs=[features], outputs=wanted))
    assert [(tensor.name, tensor.datatype, tensor.shape) for tensor in answer.outputs] == [("scores", "BYTES", (1, 2))]
    assert [item.decode().split(":")[1:] for item in deserialize_bytes_tensor(bytes(answer.outputs[0].data))] == [
        ["1", "dog"],
        ["2", "bird"],
    ]
    both = infer(triton, InferRequest("classes", inputs=[features]))
    assert {tensor.name for tensor in both.outputs} == {"scores", "total"}


def test_a_model_of_scalars_is_served_through_reshape(triton: RunningTriton) -> None:
    array = np.array([[5], [-7]], np.int32)
    answer = infer(triton, InferRequest("reshaped", inputs=[Tensor("X", "INT32", (2, 1), array.tobytes())]))
    assert answer.outputs[0].shape == (2, 1)
    assert np.frombuffer(answer.outputs[0].data, np.int32).tolist() == [-5, 7]


def test_a_bad_request_does_not_fail_the_others_of_its_batch(triton: RunningTriton) -> None:
    async def together() -> list[InferResponse | BaseException]:
        async with triton.upstream() as upstream:
            asked = [upstream.infer(_row(index), 1, 20.0) for index in (3, 99, 7, 1)]
            return await asyncio.gather(*asked, return_exceptions=True)

    async def executions() -> tuple[int, int]:
        async with triton.upstream() as upstream:
            stats = (await upstream.document("v2/models/lookup/versions/1/stats"))["model_stats"][0]
            return stats["inference_count"] + stats["inference_stats"]["fail"]["count"], stats["execution_count"]

    answers = aio.run(together())
    values = [np.frombuffer(a.outputs[0].data, np.float32)[0] for a in answers if isinstance(a, InferResponse)]
    assert values == [30.0, 70.0, 10.0]
    assert "out of data bounds" in str(answers[1])
    # The request fitted the model's interface: a version that fails on it must not hide behind "client's mistake".
    assert isinstance(answers[1], UpstreamFailure)
    requests, batches = aio.run(executions())
    assert batches < requests, "the requests were not batched, so this test has shown nothing"


def _row(index: int) -> InferRequest:
    return InferRequest("lookup", inputs=[Tensor("index", "INT64", (1, 1), np.int64(index).tobytes())])


def test_text_that_is_not_utf8_is_refused_alone(triton: RunningTriton) -> None:
    sent = [to_tensor(f"in_{name}", name, values_of(name, 1, 1)) for name in DATATYPES.values() if name != "STRING"]
    bad = Tensor("in_STRING", "BYTES", (1, 1), b"\x02\x00\x00\x00\xff\xfe")
    with pytest.raises(InvalidRequest, match=r"in_STRING.*UTF-8"):
        infer(triton, InferRequest("every_datatype", inputs=[*sent, bad]))


def test_tritons_refusals_keep_their_words(triton: RunningTriton) -> None:
    with pytest.raises(InvalidRequest, match=r"unexpected shape.*Expected \[-1,4\], got \[1,3\]"):
        infer(triton, InferRequest("scale", inputs=[fp32("X", np.ones((1, 3)))]))
    with pytest.raises(Unavailable, match=r"version 3 is not found|no available versions|not at ready state"):
        infer(triton, InferRequest("scale", inputs=[fp32("X", np.ones((1, 4)))]), version=3)
    with pytest.raises(Unavailable, match="unknown model"):
        infer(triton, InferRequest("a/b?c#d e", inputs=[fp32("X", np.ones((1, 4)))]))


def test_the_schema_is_what_clients_must_send(triton: RunningTriton) -> None:
    async def schema() -> None:
        async with triton.upstream() as upstream:
            found = await upstream.schema("classes", 1)
            assert found.max_batch_size == 8
            assert found.inputs["features"].dims == (-1, 3)
            assert found.outputs["scores"].labels
            assert not found.outputs["total"].labels
            plain = await upstream.schema("unbatched", 1)
            assert plain.max_batch_size == 0
            assert plain.inputs["X"].dims == (-1, -1)
            with pytest.raises(Unavailable):
                await upstream.schema("classes", 7)
            assert await upstream.ready()

    aio.run(schema())
