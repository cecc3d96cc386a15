"""Models that do next to nothing, in a repository of their own: what is left to measure is the way to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.dataset import Dataset
from loadtest.payload import Interface
from services.core.errors import MissingDependency
from services.core.inference import TensorSpec

WIDTH = 64
IMAGE = (3, 224, 224)
OPSET = 18
IR_VERSION = 9

_CONFIG = """name: "{name}"
backend: "onnxruntime"
max_batch_size: {batch}
input [{{ name: "x" data_type: TYPE_FP32 dims: {inputs} }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: {outputs} }}]
dynamic_batching {{ }}
instance_group [{{ kind: KIND_CPU count: 1 }}]
parameters {{ key: "intra_op_thread_count" value {{ string_value: "1" }} }}
"""


@dataclass(frozen=True, slots=True)
class BenchModel:
    """A model to measure with: one FP32 input ``x``, one FP32 output ``y``.

    Attributes:
        name: Its name in the repository.
        title: What reports call its requests.
        row_shape: Shape of one input row.
        width: Numbers in one output row.
        max_batch_size: As in config.pbtxt.
        nodes: Given the onnx package, the nodes and the constants between ``x`` and ``y``.
        row: One input row.
        label: The place of the largest number of its output.
    """

    name: str
    title: str
    row_shape: tuple[int, ...]
    width: int
    max_batch_size: int
    nodes: Callable[[Any], tuple[list[Any], list[Any]]]
    row: Callable[[], Any]
    label: Callable[[Any], int]

    @property
    def interface(self) -> Interface:
        """How it is called."""
        inputs = (TensorSpec("x", "FP32", (-1, *self.row_shape)),)
        return Interface(self.name, None, inputs, TensorSpec("y", "FP32", (-1, self.width)))

    def sample(self) -> Dataset:
        """Return one row with its label."""
        row = self.row()
        return Dataset({"x": row[np.newaxis]}, np.array([self.label(row)], np.int64), Path("generated"))

    def publish(self, repository: Path) -> Path:
        """Write version 1 and return the path of its ONNX file.

        Raises:
            MissingDependency: The onnx package is not installed.
        """
        try:
            import onnx
        except ModuleNotFoundError as error:
            raise MissingDependency("onnx is not installed", "pip install 'penstock[build]'") from error
        nodes, constants = self.nodes(onnx)
        kind = onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            nodes,
            self.name,
            [onnx.helper.make_tensor_value_info("x", kind, ["batch", *self.row_shape])],
            [onnx.helper.make_tensor_value_info("y", kind, ["batch", self.width])],
            constants,
        )
        opsets = [onnx.helper.make_opsetid("", OPSET)]
        path = repository / self.name / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), str(path))
        config = _CONFIG.format(
            name=self.name, batch=self.max_batch_size, inputs=list(self.row_shape), outputs=[self.width]
        )
        (repository / self.name / "config.pbtxt").write_text(config, encoding="utf-8")
        return path


def _double(onnx: Any) -> tuple[list[Any], list[Any]]:
    two = onnx.helper.make_tensor("two", onnx.TensorProto.FLOAT, [1], [2.0])
    return [onnx.helper.make_node("Mul", ["x", "two"], ["y"])], [two]


def _mean(onnx: Any) -> tuple[list[Any], list[Any]]:
    axes = onnx.helper.make_tensor("axes", onnx.TensorProto.INT64, [2], [2, 3])
    return [onnx.helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)], [axes]


SMALL = BenchModel(
    "bench_small",
    "256 bytes",
    (WIDTH,),
    WIDTH,
    64,
    _double,
    lambda: np.random.default_rng(0).normal(size=WIDTH).astype(np.float32),
    lambda row: int(row.argmax()),
)
LARGE = BenchModel(
    "bench_image",
    "3x224x224",
    IMAGE,
    IMAGE[0],
    8,
    _mean,
    lambda: np.random.default_rng(0).normal(loc=[[[0.0]], [[1.0]], [[0.5]]], size=IMAGE).astype(np.float32),
    lambda row: int(row.mean(axis=(1, 2)).argmax()),
)
MODELS = (SMALL, LARGE)


def publish(repository: Path) -> None:
    """Write every model of the benchmark."""
    for model in MODELS:
        model.publish(repository)
