"""The Python-based ``onnxruntime`` backend: what it makes of a ``config.pbtxt``."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper

from services.core.errors import InvalidRequest, UpstreamFailure
from services.core.inference import InferRequest
from services.core.tensor import Tensor
from tests.fakes import aio
from tests.fakes.onnx_repository import scale, write_model
from tests.fakes.running_triton import RunningTriton

pytestmark = pytest.mark.integration

ROW = Tensor("X", "FP32", (1, 4), np.ones(4, np.float32).tobytes())


def parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}\n'


def with_config(triton: RunningTriton, name: str, *changes: tuple[str, str], more: str = "") -> Path:
    """Publish a copy of ``scale`` whose configuration differs."""
    scale(triton.repository, versions=(1,), name=name)
    path = triton.repository / name / "config.pbtxt"
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text + more)
    return path.parent


def first_value(triton: RunningTriton, model: str) -> float:
    async def once() -> float:
        async with triton.upstream() as upstream:
            answer = await upstream.infer(InferRequest(model, inputs=[ROW]), 1, 20.0)
            return float(np.frombuffer(answer.outputs[0].data, np.float32)[0])

    return aio.run(once())


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("wrong_name", ('name: "X"', 'name: "Z"'), "has input 'Z', but the model's are X"),
        ("wrong_type", ("TYPE_FP32 dims: [4] }]\noutput", "TYPE_FP16 dims: [4] }]\noutput"), "TYPE_FP16"),
        ("wrong_dims", ('name: "Y" data_type: TYPE_FP32 dims: [4]', 'name: "Y" data_type: TYPE_FP32 dims: [5]'), "5"),
        ("wrong_rank", ("max_batch_size: 8", "max_batch_size: 0"), "the model has"),
        ("wrong_mode", ("instance_group", parameter("execution_mode", "7") + "#"), "execution_mode"),
        ("wrong_threads", ("instance_group", parameter("intra_op_thread_count", "x") + "#"), "intra_op_thread_count"),
        ("wrong_file", ("instance_group", 'default_model_filename: "other.onnx"\n#'), "other.onnx"),
        ("ragged", ('name: "X"', 'allow_ragged_batch: true name: "X"'), "ragged"),
    ],
)  # fmt: skip
def test_a_configuration_that_does_not_tell_the_truth_is_refused_when_it_is_loaded(
    triton: RunningTriton, name: str, change: tuple[str, str], words: str
) -> None:
    changes = [change]
    if name == "wrong_rank":
        changes.append(("dynamic_batching { max_queue_delay_microseconds: 500 }", ""))
    with_config(triton, name, *changes)
    with pytest.raises(UpstreamFailure, match=words):
        triton.load(name, 1)


def test_the_parameters_of_ngcs_backend_are_taken(triton: RunningTriton) -> None:
    values = {
        "intra_op_thread_count": "1",
        "inter_op_thread_count": "1",
        "execution_mode": "1",
        "enable_mem_arena": "0",
        "enable_mem_pattern": "false",
        "session.intra_op.allow_spinning": "0",
    }
    parameters = "".join(parameter(name, value) for name, value in values.items())
    graph = "optimization { graph { level: 1 } }\n"
    directory = with_config(triton, "tuned", more=parameters + graph + 'default_model_filename: "renamed.onnx"\n')
    shutil.move(directory / "1" / "model.onnx", directory / "1" / "renamed.onnx")
    triton.load("tuned", 1)
    assert first_value(triton, "tuned") == 1.0


def test_an_optional_input_may_be_left_out_alone_in_a_batch(triton: RunningTriton) -> None:
    """ONNX takes the initializer of the same name for an input that is not sent."""
    name = "optional"
    scale(triton.repository, versions=(), name=name)
    config = triton.repository / name / "config.pbtxt"
    more = 'input [{ name: "factor" data_type: TYPE_FP32 dims: [1] optional: true }]\n'
    config.write_text(config.read_text() + more)
    tensors = [helper.make_tensor_value_info(n, T.FLOAT, ["batch", d]) for n, d in (("X", 4), ("factor", 1), ("Y", 4))]
    default = helper.make_tensor("factor", T.FLOAT, [1, 1], [5.0])
    node = helper.make_node("Mul", ["X", "factor"], ["Y"])
    write_model(triton.repository, name, [node], tensors[:2], tensors[2:], constants=[default])
    triton.load(name, 1)
    assert first_value(triton, name) == 5.0


def test_a_request_for_more_rows_than_a_batch_may_have_is_refused(triton: RunningTriton) -> None:
    nine = Tensor("X", "FP32", (9, 4), np.ones((9, 4), np.float32).tobytes())

    async def once() -> None:
        async with triton.upstream() as upstream:
            with pytest.raises(InvalidRequest, match="batch-size must be <= 8"):
                await upstream.infer(InferRequest("scale", inputs=[nine]), 1, 20.0)

    aio.run(once())
