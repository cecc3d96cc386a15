"""INT8 keeps the interface and most of the accuracy, or is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from enginebuild.quantize import quantize_int8
from enginebuild.recipe import Recipe
from enginebuild.runtime import OnnxModel
from onnx import TensorProto, helper, numpy_helper

from services.core.errors import BuildFailed
from tests.fakes import tiny_recipe

INPUTS = {"x": np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)}


def recipe(method: str = "minmax") -> Recipe:
    return tiny_recipe.recipe(
        inputs=[{"name": "x", "datatype": "FP32", "dims": [8]}],
        outputs=[{"name": "y", "datatype": "FP32", "dims": [4], "labels": "labels.txt"}],
        quantization={"method": method},
    )


def model(path: Path, operator: str) -> Path:
    weight = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)
    second = weight if operator == "MatMul" else np.arange(4)
    node = helper.make_node(operator, ["x", "w"], ["y"], **({"axis": 1} if operator == "Gather" else {}))
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(second, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_an_int8_model_takes_any_batch_and_stays_close(tmp_path: Path, method: str) -> None:
    source = model(tmp_path / "fp32.onnx", "MatMul")
    quantize_int8(source, recipe(method), INPUTS, tmp_path / "int8.onnx")
    exact, close = (OnnxModel(tmp_path / name, 1).run_all(INPUTS, 7)["y"] for name in ("fp32.onnx", "int8.onnx"))
    assert close.shape == exact.shape
    assert 0 < np.abs(exact - close).max() < 0.2 * np.abs(exact).max()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fp32.onnx", "int8.onnx"]


def test_weights_are_signed_and_activations_unsigned_with_a_scale_per_channel(tmp_path: Path) -> None:
    quantize_int8(model(tmp_path / "fp32.onnx", "MatMul"), recipe(), INPUTS, tmp_path / "int8.onnx")
    tensors = {tensor.name: tensor for tensor in onnx.load(str(tmp_path / "int8.onnx")).graph.initializer}
    types = {name: tensor.data_type for name, tensor in tensors.items()}
    assert types["w_quantized"] == TensorProto.INT8
    assert list(tensors["w_scale"].dims) == [4]
    assert types["x_zero_point"] == TensorProto.UINT8


def test_a_network_with_nothing_to_quantise_is_refused(tmp_path: Path) -> None:
    source = model(tmp_path / "fp32.onnx", "Identity")
    with pytest.raises(BuildFailed, match="INT8"):
        quantize_int8(source, recipe(), INPUTS, tmp_path / "int8.onnx")
    assert not (tmp_path / "int8.onnx").exists()


def test_calibration_data_that_does_not_run_is_refused(tmp_path: Path) -> None:
    source = model(tmp_path / "fp32.onnx", "MatMul")
    with pytest.raises(BuildFailed, match="cannot be quantised"):
        quantize_int8(source, recipe(), {"x": np.zeros((4, 9), dtype=np.float32)}, tmp_path / "int8.onnx")
