"""INT8 keeps the interface and most of the accuracy, or is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from enginebuild.convert.int8 import Int8Converter, quantize_weights
from enginebuild.datatypes import Arrays
from enginebuild.recipe.recipe import Recipe
from enginebuild.runtime import OnnxModel
from onnx import TensorProto, helper, numpy_helper

from services.core.errors import BuildFailed, ConfigurationError
from tests.fakes import tiny_recipe

INPUTS: Arrays = {"x": np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)}


def recipe(method: str = "minmax", **more: Any) -> Recipe:
    return tiny_recipe.recipe(
        inputs=[{"name": "x", "datatype": "FP32", "dims": [8]}],
        outputs=[{"name": "y", "datatype": "FP32", "dims": [4], "labels": "labels.txt"}],
        metrics=[{"metric": "accuracy"}],
        quantization={"method": method, **more},
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
    assert Int8Converter(source, recipe(method), INPUTS, tmp_path).convert(tmp_path / "int8.onnx") == 1
    exact, close = (OnnxModel(tmp_path / name, 1).run_all(INPUTS, 7)["y"] for name in ("fp32.onnx", "int8.onnx"))
    assert close.shape == exact.shape
    assert 0 < np.abs(exact - close).max() < 0.2 * np.abs(exact).max()


def test_weights_are_signed_and_activations_unsigned_with_a_scale_per_channel(tmp_path: Path) -> None:
    source = model(tmp_path / "fp32.onnx", "MatMul")
    Int8Converter(source, recipe(), INPUTS, tmp_path).convert(tmp_path / "int8.onnx")
    tensors = {tensor.name: tensor for tensor in onnx.load(str(tmp_path / "int8.onnx")).graph.initializer}
    types = {name: tensor.data_type for name, tensor in tensors.items()}
    assert types["w_quantized"] == TensorProto.INT8
    assert list(tensors["w_scale"].dims) == [4]
    assert types["x_zero_point"] == TensorProto.UINT8


def test_a_network_with_nothing_to_quantise_is_refused(tmp_path: Path) -> None:
    source = model(tmp_path / "fp32.onnx", "Identity")
    with pytest.raises(BuildFailed, match="INT8"):
        Int8Converter(source, recipe(), INPUTS, tmp_path).convert(tmp_path / "int8.onnx")
    assert not (tmp_path / "int8.onnx").exists()


def test_calibration_data_that_does_not_run_is_refused(tmp_path: Path) -> None:
    source = model(tmp_path / "fp32.onnx", "MatMul")
    wrong: Arrays = {"x": np.zeros((4, 9), dtype=np.float32)}
    converter = Int8Converter(source, recipe(), wrong, tmp_path)
    with pytest.raises(BuildFailed, match="cannot be quantised"):
        converter.convert(tmp_path / "int8.onnx")


def test_weights_alone_are_quantised_without_any_data(tmp_path: Path) -> None:
    source = model(tmp_path / "fp32.onnx", "MatMul")
    assert quantize_weights(source, recipe(), tmp_path / "dynamic.onnx") == 1
    exact, close = (OnnxModel(tmp_path / name, 1).run_all(INPUTS, 7)["y"] for name in ("fp32.onnx", "dynamic.onnx"))
    assert 0 < np.abs(exact - close).max() < 0.2 * np.abs(exact).max()
    with pytest.raises(BuildFailed, match="no operator of this network can be quantised"):
        quantize_weights(model(tmp_path / "idle.onnx", "Identity"), recipe(), tmp_path / "dynamic.onnx")


def test_an_operator_that_the_recipe_excludes_stays_in_fp32_and_must_be_there(tmp_path: Path) -> None:
    source = model(tmp_path / "fp32.onnx", "MatMul")
    (name,) = Int8Converter(source, recipe(), INPUTS, tmp_path).candidates
    with pytest.raises(BuildFailed, match="no operator of this network can be quantised"):
        Int8Converter(source, recipe(exclude=[name]), INPUTS, tmp_path).convert(tmp_path / "int8.onnx")
    with pytest.raises(ConfigurationError, match=f"has no operator 'absent'; it has {name}"):
        Int8Converter(source, recipe(exclude=["absent"]), INPUTS, tmp_path)


def test_calibration_is_done_once_for_all_forms_of_a_network(tmp_path: Path) -> None:
    converter = Int8Converter(model(tmp_path / "fp32.onnx", "MatMul"), recipe(), INPUTS, tmp_path)
    converter.convert(tmp_path / "first.onnx")
    converter.convert(tmp_path / "second.onnx")
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
    assert (tmp_path / "fp32.ranges.json").is_file()
