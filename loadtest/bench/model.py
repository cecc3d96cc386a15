"""A model that does next to nothing, in a repository of its own: what is left to measure is the way to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from loadtest.dataset import Dataset
from loadtest.payload import Interface
from services.core.errors import MissingDependency
from services.core.inference import TensorSpec

NAME = "bench_small"
WIDTH = 64  # 256 bytes of FP32, as one of the digits
OPSET = 18
IR_VERSION = 9
INTERFACE = Interface(NAME, None, (TensorSpec("x", "FP32", (-1, WIDTH)),), TensorSpec("y", "FP32", (-1, WIDTH)))

_CONFIG = f"""name: "{NAME}"
backend: "onnxruntime"
max_batch_size: 64
input [{{ name: "x" data_type: TYPE_FP32 dims: [{WIDTH}] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [{WIDTH}] }}]
dynamic_batching {{ }}
instance_group [{{ kind: KIND_CPU count: 1 }}]
parameters {{ key: "intra_op_thread_count" value {{ string_value: "1" }} }}
"""


def publish(repository: Path) -> None:
    """Write version 1 of y = 2 x.

    Raises:
        MissingDependency: The onnx package is not installed.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise MissingDependency("onnx is not installed", "pip install 'penstock[build]'") from error
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Mul", ["x", "two"], ["y"])],
        NAME,
        [onnx.helper.make_tensor_value_info("x", kind, ["batch", WIDTH])],
        [onnx.helper.make_tensor_value_info("y", kind, ["batch", WIDTH])],
        [onnx.helper.make_tensor("two", kind, [1], [2.0])],
    )
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    folder = repository / NAME / "1"
    folder.mkdir(parents=True)
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), str(folder / "model.onnx"))
    (repository / NAME / "config.pbtxt").write_text(_CONFIG, encoding="utf-8")


def sample() -> Dataset:
    """Return one row with its largest element's index as label, which doubling keeps."""
    row = np.random.default_rng(0).normal(size=(1, WIDTH)).astype(np.float32)
    return Dataset({"x": row}, row.argmax(axis=1).astype(np.int64), Path("generated"))
