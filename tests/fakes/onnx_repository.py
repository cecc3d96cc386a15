"""A model repository of small generated ONNX models, each there to show one thing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

# Datatype in config.pbtxt by ONNX element type: everything that both have and NumPy knows.
DATATYPES = {
    T.BOOL: "BOOL",
    T.UINT8: "UINT8",
    T.UINT16: "UINT16",
    T.UINT32: "UINT32",
    T.UINT64: "UINT64",
    T.INT8: "INT8",
    T.INT16: "INT16",
    T.INT32: "INT32",
    T.INT64: "INT64",
    T.FLOAT16: "FP16",
    T.FLOAT: "FP32",
    T.DOUBLE: "FP64",
    T.STRING: "STRING",
}
_BATCHING = "dynamic_batching { max_queue_delay_microseconds: 500 }\n"
_ONE_INSTANCE = "instance_group [{ count: 1 kind: KIND_CPU }]\n"


def build_repository(root: Path) -> None:
    """Write every model below ``root``."""
    scale(root)
    every_datatype(root)
    lookup(root)
    classes(root)
    unbatched(root)
    reshaped(root)


def scale(root: Path, versions: Sequence[int] = (1, 2, 3), name: str = "scale") -> None:
    """FP32 [4] -> FP32 [4], times the version number; version 9 is damaged."""
    config = _io("input", "X", "FP32", "4") + _io("output", "Y", "FP32", "4") + _BATCHING
    _write_config(root, name, config, max_batch_size=8)
    for version in versions:
        write_scale_version(root, version, float(version), name)
    damaged = root / name / "9" / "model.onnx"
    damaged.parent.mkdir(exist_ok=True)
    damaged.write_bytes(b"\x12\x10not an ONNX file")  # a producer's name, and no graph


def write_scale_version(root: Path, version: int, factor: float, name: str = "scale") -> None:
    """Add one version that multiplies by ``factor``."""
    node = helper.make_node("Mul", ["X", "factor"], ["Y"])
    constant = numpy_helper.from_array(np.array([factor], np.float32), "factor")
    x = helper.make_tensor_value_info("X", T.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("Y", T.FLOAT, ["batch", 4])
    write_model(root, name, [node], [x], [y], constants=[constant], version=version)


def every_datatype(root: Path) -> None:
    """One input ``in_<DATATYPE>`` and one output ``out_<DATATYPE>`` of any length each, passed through."""
    config, nodes, inputs, outputs = "", [], [], []
    for element, datatype in DATATYPES.items():
        source, target = f"in_{datatype}", f"out_{datatype}"
        config += _io("input", source, datatype, "-1") + _io("output", target, datatype, "-1")
        nodes.append(helper.make_node("Identity", [source], [target]))
        inputs.append(helper.make_tensor_value_info(source, element, ["batch", f"n_{datatype}"]))
        outputs.append(helper.make_tensor_value_info(target, element, ["batch", f"n_{datatype}"]))
    _write_config(root, "every_datatype", config + _BATCHING, max_batch_size=4)
    write_model(root, "every_datatype", nodes, inputs, outputs)


def lookup(root: Path) -> None:
    """INT64 [1] -> FP32 [1]: row ``index`` of ten; an index beyond them makes ONNX Runtime fail.

    The queue delay is long, so that requests sent together run as one batch.
    """
    config = _io("input", "index", "INT64", "1") + _io("output", "value", "FP32", "1")
    batching = "dynamic_batching { preferred_batch_size: [4] max_queue_delay_microseconds: 300000 }\n"
    _write_config(root, "lookup", config + batching, max_batch_size=4)
    table = numpy_helper.from_array(np.arange(10, dtype=np.float32) * 10, "table")
    node = helper.make_node("Gather", ["table", "index"], ["value"], axis=0)
    index = helper.make_tensor_value_info("index", T.INT64, ["batch", 1])
    value = helper.make_tensor_value_info("value", T.FLOAT, ["batch", 1])
    write_model(root, "lookup", [node], [index], [value], constants=[table])


def classes(root: Path) -> None:
    """FP32 [3] -> FP32 [3] scores with labels, and FP32 [1] sum."""
    config = _io("input", "features", "FP32", "3") + _io("output", "total", "FP32", "1")
    config += 'output [{ name: "scores" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt" }]\n'
    _write_config(root, "classes", config + _BATCHING, max_batch_size=8)
    (root / "classes" / "labels.txt").write_text("cat\ndog\nbird\n")
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    nodes = [
        helper.make_node("Identity", ["features"], ["scores"]),
        helper.make_node("ReduceSum", ["features", "axes"], ["total"], keepdims=1),
    ]
    features = helper.make_tensor_value_info("features", T.FLOAT, ["batch", 3])
    scores = helper.make_tensor_value_info("scores", T.FLOAT, ["batch", 3])
    total = helper.make_tensor_value_info("total", T.FLOAT, ["batch", 1])
    write_model(root, "classes", nodes, [features], [scores, total], constants=[axes])


def unbatched(root: Path) -> None:
    """FP32 of any shape [a, b] -> the same, without a batch dimension."""
    config = _io("input", "X", "FP32", "-1, -1") + _io("output", "Y", "FP32", "-1, -1")
    _write_config(root, "unbatched", config, max_batch_size=0)
    node = helper.make_node("Identity", ["X"], ["Y"])
    x = helper.make_tensor_value_info("X", T.FLOAT, ["a", "b"])
    y = helper.make_tensor_value_info("Y", T.FLOAT, ["a", "b"])
    write_model(root, "unbatched", [node], [x], [y])


def reshaped(root: Path) -> None:
    """INT32 [1] -> INT32 [1] around a model of scalars, by ``reshape { shape: [] }``."""
    tensor = "data_type: TYPE_INT32 dims: [1] reshape { shape: [] }"
    config = f'input [{{ name: "X" {tensor} }}]\noutput [{{ name: "Y" {tensor} }}]\n'
    _write_config(root, "reshaped", config + _BATCHING, max_batch_size=4)
    node = helper.make_node("Neg", ["X"], ["Y"])
    x = helper.make_tensor_value_info("X", T.INT32, ["batch"])
    y = helper.make_tensor_value_info("Y", T.INT32, ["batch"])
    write_model(root, "reshaped", [node], [x], [y])


def write_model(
    root: Path,
    name: str,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    *,
    constants: Sequence[Any] = (),
    version: int = 1,
) -> None:
    """Write one ONNX file as a version."""
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path = root / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def _io(side: str, name: str, datatype: str, dims: str) -> str:
    return f'{side} [{{ name: "{name}" data_type: TYPE_{datatype} dims: [{dims}] }}]\n'


def _write_config(root: Path, name: str, text: str, *, max_batch_size: int) -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    head = f'name: "{name}"\nbackend: "onnxruntime"\nmax_batch_size: {max_batch_size}\n'
    (root / name / "config.pbtxt").write_text(head + text + _ONE_INSTANCE)
