"""Models for a real Triton that batches, each there to show one way in which merged requests could go wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from tests.fakes.onnx_repository import write_model

_PYTHON = Path(__file__).parent / "triton_zoo" / "models"
_PAIR = (
    'input [{ name: "LEFT" data_type: TYPE_INT32 dims: [2] }, { name: "RIGHT" data_type: TYPE_INT32 dims: [2] }]\n'
    'output [{ name: "SUM" data_type: TYPE_INT32 dims: [2] }, { name: "DIFFERENCE" data_type: TYPE_INT32 dims: [2] }]\n'
)
ON = 'parameters { key: "penstock_merging" value { string_value: "on" } }\n'
MAX_BATCH = 32
NAMES = ("merge_mixed", "merge_scores", "merge_lookup", "merge_sizes", "merge_pair", "merge_apart", "merge_plain")
# Where nothing is said, Triton puts the one size of max_batch_size there.
_EVERY_SIZE = f"preferred_batch_size: [{', '.join(map(str, range(2, MAX_BATCH + 1)))}]"


def add_merging_models(root: Path) -> None:
    """Write all of them below ``root``, version 1 each."""
    mixed(root)
    scores(root)
    lookup(root)
    negated(root, "merge_sizes", batching="preferred_batch_size: [4, 8]", instances=2)
    negated(root, "merge_plain", batching="")
    for name, more in (("merge_pair", ON), ("merge_apart", "")):
        _config(root, name, "python", _PAIR + more)
        source = (_PYTHON / "pair.py").read_text("utf-8")
        (root / name / "1").mkdir(exist_ok=True)
        (root / name / "1" / "model.py").write_text(source, "utf-8")


def mixed(root: Path) -> None:
    """INT32 [-1] and BYTES [-1] -> the doubled numbers, the same texts, and INT32 [1] the sum of the numbers."""
    _config(
        root,
        "merge_mixed",
        "onnxruntime",
        'input [{ name: "NUMBERS" data_type: TYPE_INT32 dims: [-1] }, '
        '{ name: "TEXTS" data_type: TYPE_STRING dims: [-1] }]\n'
        'output [{ name: "DOUBLED" data_type: TYPE_INT32 dims: [-1] }, '
        '{ name: "SAME" data_type: TYPE_STRING dims: [-1] }, { name: "TOTAL" data_type: TYPE_INT32 dims: [1] }]\n',
    )
    nodes = [
        helper.make_node("Add", ["NUMBERS", "NUMBERS"], ["DOUBLED"]),
        helper.make_node("Identity", ["TEXTS"], ["SAME"]),
        helper.make_node("ReduceSum", ["NUMBERS", "axes"], ["TOTAL"], keepdims=1),
    ]
    info = helper.make_tensor_value_info
    inputs = [info("NUMBERS", T.INT32, ["batch", "n"]), info("TEXTS", T.STRING, ["batch", "t"])]
    outputs = [info("DOUBLED", T.INT32, ["batch", "n"]), info("SAME", T.STRING, ["batch", "t"])]
    outputs.append(info("TOTAL", T.INT32, ["batch", 1]))
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    write_model(root, "merge_mixed", nodes, inputs, outputs, constants=[axes])


def scores(root: Path) -> None:
    """FP32 [3] -> FP32 [3] with labels: a product with a matrix; and FP32 [3], the features themselves."""
    _config(
        root,
        "merge_scores",
        "onnxruntime",
        'input [{ name: "FEATURES" data_type: TYPE_FP32 dims: [3] }]\n'
        'output [{ name: "SCORES" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt" }, '
        '{ name: "SAME" data_type: TYPE_FP32 dims: [3] }]\n',
    )
    (root / "merge_scores" / "labels.txt").write_text("cat\ndog\nbird\n")
    matrix = numpy_helper.from_array(np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32), "matrix")
    nodes = [
        helper.make_node("MatMul", ["FEATURES", "matrix"], ["SCORES"]),
        helper.make_node("Identity", ["FEATURES"], ["SAME"]),
    ]
    infos = [helper.make_tensor_value_info(name, T.FLOAT, ["batch", 3]) for name in ("FEATURES", "SCORES", "SAME")]
    write_model(root, "merge_scores", nodes, infos[:1], infos[1:], constants=[matrix])


def lookup(root: Path) -> None:
    """INT64 [1] -> INT64 [1]: ten times ``INDEX``, which must be below 100, or ONNX Runtime fails."""
    io = 'input [{ name: "INDEX" data_type: TYPE_INT64 dims: [1] }]\n'
    io += 'output [{ name: "VALUE" data_type: TYPE_INT64 dims: [1] }]\n'
    _config(root, "merge_lookup", "onnxruntime", io)
    table = numpy_helper.from_array(np.arange(100, dtype=np.int64) * 10, "table")
    node = helper.make_node("Gather", ["table", "INDEX"], ["VALUE"], axis=0)
    infos = [helper.make_tensor_value_info(name, T.INT64, ["batch", 1]) for name in ("INDEX", "VALUE")]
    write_model(root, "merge_lookup", [node], infos[:1], infos[1:], constants=[table])


def negated(root: Path, name: str, *, batching: str, instances: int = 1) -> None:
    """INT32 [1] -> INT32 [1], negated."""
    io = 'input [{ name: "X" data_type: TYPE_INT32 dims: [1] }]\n'
    io += 'output [{ name: "Y" data_type: TYPE_INT32 dims: [1] }]\n'
    _config(root, name, "onnxruntime", io, batching=batching, instances=instances)
    infos = [helper.make_tensor_value_info(tensor, T.INT32, ["batch", 1]) for tensor in ("X", "Y")]
    write_model(root, name, [helper.make_node("Neg", ["X"], ["Y"])], infos[:1], infos[1:])


def _config(root: Path, name: str, backend: str, text: str, *, batching: str = _EVERY_SIZE, instances: int = 1) -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    head = f'name: "{name}"\nbackend: "{backend}"\nmax_batch_size: {MAX_BATCH}\n'
    tail = f"dynamic_batching {{ {batching} }}\ninstance_group [{{ count: {instances} kind: KIND_CPU }}]\n"
    (root / name / "config.pbtxt").write_text(head + text + tail)
