"""INT8 with FP16 around it: everything that is not INT8 is FP16, but for what FP16 cannot hold."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from enginebuild.convert.export import export_onnx, relative_difference
from enginebuild.convert.int8 import TENSORRT_SCHEME, Int8Converter
from enginebuild.convert.int8_rest import rest_to_fp16
from enginebuild.convert.ranges import largest_values
from enginebuild.data import load_evaluation
from enginebuild.datatypes import Arrays
from enginebuild.network import NamedNetwork
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipecode import RecipeCode
from enginebuild.runtime import OnnxModel
from onnx import TensorProto, helper, numpy_helper

from services.cli.yamlfile import load_yaml
from tests.fakes import tiny_recipe
from tests.fakes.conv_network import network, recipe

IMAGES = {"image": np.random.default_rng(2).random((32, 1, 8, 8), dtype=np.float32)}
RECIPES = Path(__file__).parents[4] / "build" / "recipes"
PAIR = ("QuantizeLinear", "DequantizeLinear")
# Of an output's largest value. INT8 rounds to a step of 127, FP16 to one of 2,048.
OF_FP32, OF_INT8 = 5e-2, 1e-2
# The same tokens in every Python: the recipe reads Python's own texts. A value at the border of two steps of INT8
# falls to either side, and on some texts that alone is more than OF_INT8.
TOKENS = {"tokens": np.random.default_rng(5).integers(0, 128, (32, 96))}
# Root mean square, in shares of INT8's own distance to FP32: what FP16 adds is lost in it.
OF_INT8S_ERROR = 1.25


def converted(source: Path, made: Recipe, samples: Arrays) -> tuple[Any, tuple[str, ...]]:
    """Write ``int8.onnx`` and, with FP16 around it, ``mixed.onnx``; return the second and what stays in FP32."""
    folder = source.parent
    Int8Converter(source, made, samples, folder, TENSORRT_SCHEME).convert(folder / "int8.onnx")
    (folder / "mixed.onnx").write_bytes((folder / "int8.onnx").read_bytes())
    kept = rest_to_fp16(folder / "mixed.onnx", made, samples)
    found: Any = onnx.load(str(folder / "mixed.onnx"))
    onnx.checker.check_model(found, full_check=True)
    return found, kept


def types_of(model: Any) -> dict[str, int]:
    """Return the type of every tensor."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {one.name: one.data_type for one in graph.initializer}
    values = (*graph.input, *graph.output, *graph.value_info)
    return found | {value.name: value.type.tensor_type.elem_type for value in values}


def answers(folder: Path, samples: Arrays) -> list[Arrays]:
    """Return what FP32, INT8 in FP32 and INT8 in FP16 say."""
    return [OnnxModel(folder / f"{name}.onnx", 1).run_all(samples, 16) for name in ("fp32", "int8", "mixed")]


def expect_close(folder: Path, samples: Arrays) -> None:
    exact, integers, mixed = answers(folder, samples)
    for name, wanted in exact.items():
        assert np.isfinite(mixed[name]).all()
        assert mixed[name].dtype == np.float32
        assert relative_difference(integers[name], mixed[name]) < OF_INT8
        assert relative_difference(wanted, mixed[name]) < OF_FP32
        errors = [float(np.sqrt(np.square(found[name] - wanted).mean())) for found in (integers, mixed)]
        assert errors[1] < OF_INT8S_ERROR * errors[0]


def test_all_scales_and_values_are_fp16_and_the_model_keeps_its_inputs_and_outputs(tmp_path: Path) -> None:
    found, kept = converted(network(tmp_path / "fp32.onnx"), recipe(), IMAGES)
    types = types_of(found)
    assert kept == ()
    assert {types[node.input[1]] for node in found.graph.node if node.op_type in PAIR} == {TensorProto.FLOAT16}
    assert {types[node.input[2]] for node in found.graph.node if node.op_type in PAIR} == {TensorProto.INT8}
    floats = {name for name, kind in types.items() if kind == TensorProto.FLOAT}
    assert floats == {"image", "scores"}
    for node in found.graph.node:  # TensorRT takes no value whose type is not that of its scale
        if node.op_type == "QuantizeLinear":
            assert types[node.input[0]] == types[node.input[1]]
        if node.op_type == "DequantizeLinear":
            assert types[node.output[0]] == types[node.input[1]]
    expect_close(tmp_path, IMAGES)


def test_a_weight_beyond_fp16_keeps_its_operator_and_its_pairs_in_fp32(tmp_path: Path) -> None:
    found, kept = converted(network(tmp_path / "fp32.onnx", largest=1e6), recipe(), IMAGES)
    types = types_of(found)
    assert "conv" in kept
    (conv,) = [node for node in found.graph.node if node.op_type == "Conv"]
    made_by = {name: node for node in found.graph.node for name in node.output}
    assert [made_by[name].op_type for name in conv.input[:2]] == ["DequantizeLinear"] * 2  # no conversion between
    assert {types[made_by[name].input[1]] for name in conv.input[:2]} == {TensorProto.FLOAT}
    held = {one.name: numpy_helper.to_array(one) for one in found.graph.initializer}
    assert held["w"].max() == 1e6
    exact, integers, mixed = (found["scores"] for found in answers(tmp_path, IMAGES))
    assert exact.max() > np.finfo(np.float16).max
    assert relative_difference(integers, mixed) < OF_INT8


def steep(path: Path, up: float, down: float) -> Path:
    """Write a network whose values become large, or small, between two products."""
    generator = np.random.default_rng(3)
    first, second = (generator.random((8, 8), dtype=np.float32) for _ in range(2))
    held = {"first": first * np.float32(up), "second": second * np.float32(down), "half": np.float32(0.5)}
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["large"], name="up"),
        helper.make_node("Mul", ["large", "half"], ["less"], name="halve"),
        helper.make_node("MatMul", ["less", "second"], ["small"], name="down"),
        helper.make_node("Sigmoid", ["small"], ["y"], name="squash"),
    ]
    graph = helper.make_graph(
        nodes,
        "steep",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()],
    )
    model: Any = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save_model(model, str(path))
    return path


def steep_recipe() -> Recipe:
    return tiny_recipe.recipe(
        inputs=[{"name": "x", "datatype": "FP32", "dims": [8]}],
        outputs=[{"name": "y", "datatype": "FP32", "dims": [8], "labels": "l.txt"}],
        metrics=[{"metric": "accuracy"}],
    )


VALUES = {"x": np.random.default_rng(4).random((64, 8), dtype=np.float32)}


def test_values_beyond_fp16_stay_in_fp32_from_where_they_arise_to_where_they_end(tmp_path: Path) -> None:
    found, kept = converted(steep(tmp_path / "fp32.onnx", 6e4, 1e-5), steep_recipe(), VALUES)
    assert kept == ("up", "halve", "down")
    types = types_of(found)
    nodes = {node.name: node for node in found.graph.node}
    assert {types[name] for kept_one in kept for name in nodes[kept_one].output} == {TensorProto.FLOAT}
    assert nodes["halve"].input[0] == nodes["up"].output[0]  # FP32 is handed on as it is
    assert [node.input[0] for node in found.graph.node if node.op_type == "Cast"] == [
        *nodes["down"].output,
        *nodes["squash"].output,
    ]
    expect_close(tmp_path, VALUES)


def test_scales_that_fp16_cannot_tell_apart_stay_in_fp32(tmp_path: Path) -> None:
    _, kept = converted(steep(tmp_path / "fp32.onnx", 1e-6, 1e6 / 16), steep_recipe(), VALUES)
    assert "up" in kept
    expect_close(tmp_path, VALUES)


def test_ranges_are_those_of_the_samples_without_infinities(tmp_path: Path) -> None:
    source = steep(tmp_path / "fp32.onnx", 1.0, 1.0)
    model: Any = onnx.load(str(source))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(-np.inf), "mask"))
    found = largest_values(model, VALUES, tmp_path, 1)
    first, second = (numpy_helper.to_array(one) for one in model.graph.initializer[:2])
    assert found["x"] == VALUES["x"].max()
    assert found["large"] == pytest.approx((VALUES["x"] @ first).max(), rel=1e-5)
    assert found["small"] == pytest.approx((0.5 * VALUES["x"] @ first @ second).max(), rel=1e-5)
    assert (found["half"], found["mask"]) == (0.5, 0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["fp32.onnx"]


@pytest.mark.parametrize("name", ["digits_cnn", "co2_lstm", "text_transformer"])
def test_the_recipes_networks_answer_as_in_fp32(tmp_path: Path, name: str) -> None:
    """With the weights that they start their training from."""
    import torch

    made = load_yaml(RECIPES / name / "recipe.yaml", Recipe)
    assert made.network.factory is not None
    torch.manual_seed(0)
    with RecipeCode(RECIPES / name) as code:
        held_out = {key: array[:32] for key, array in load_evaluation(made, code).inputs.items()}
        samples = TOKENS if name == "text_transformer" else held_out
        exported = NamedNetwork(code.function(made.network.factory)(**made.network.kwargs), made).eval()
    export_onnx(exported, made, samples, tmp_path / "fp32.onnx")
    found, kept = converted(tmp_path / "fp32.onnx", made, samples)
    assert kept == ()
    types = types_of(found)
    assert {types[node.input[1]] for node in found.graph.node if node.op_type in PAIR} == {TensorProto.FLOAT16}
    products = [node for node in found.graph.node if node.op_type in ("Conv", "MatMul", "Gemm", "LSTM")]
    assert {types[node.output[0]] for node in products} == {TensorProto.FLOAT16}
    expect_close(tmp_path, samples)
