"""INT8 for TensorRT: signed, symmetric, with float outputs and biases, and a pair for every consumer."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from enginebuild.convert.int8 import CPU_SCHEME, TENSORRT_SCHEME, Int8Converter, Int8Scheme
from enginebuild.runtime import OnnxModel
from onnx import TensorProto, numpy_helper

from tests.fakes.conv_network import network, recipe

IMAGES = {"image": np.random.default_rng(2).random((32, 1, 8, 8), dtype=np.float32)}


def converted(tmp_path: Path, scheme: Int8Scheme) -> Any:
    source = network(tmp_path / "fp32.onnx")
    Int8Converter(source, recipe(), IMAGES, tmp_path, scheme).convert(tmp_path / "int8.onnx")
    return onnx.load(str(tmp_path / "int8.onnx")).graph


def zero_points(graph: Any) -> list[Any]:
    held = {one.name: one for one in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    return [held[node.input[2]] for node in pairs]


def test_everything_is_signed_and_symmetric_and_products_give_floats(tmp_path: Path) -> None:
    graph = converted(tmp_path, TENSORRT_SCHEME)
    points = zero_points(graph)
    assert {one.data_type for one in points} == {TensorProto.INT8}
    assert not any(numpy_helper.to_array(one).any() for one in points)
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    (conv,) = [node for node in graph.node if node.op_type == "Conv"]
    assert [made_by[name] for name in conv.input[:2]] == ["DequantizeLinear"] * 2
    assert {node.op_type for node in graph.node if conv.output[0] in node.input} == {"Relu"}
    (add,) = [node for node in graph.node if node.op_type == "Add"]
    assert "DequantizeLinear" in [made_by.get(name) for name in add.input]


def test_it_computes_nearly_what_fp32_does(tmp_path: Path) -> None:
    converted(tmp_path, TENSORRT_SCHEME)
    exact, rounded = (OnnxModel(tmp_path / name, 1).run(IMAGES)["scores"] for name in ("fp32.onnx", "int8.onnx"))
    assert np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()


def test_a_cpu_gets_unsigned_activations(tmp_path: Path) -> None:
    assert TensorProto.UINT8 in {one.data_type for one in zero_points(converted(tmp_path, CPU_SCHEME))}
