"""The operators that INT8 hurts are found, and as few as needed are kept in FP32."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from enginebuild.convert.int8 import Int8Converter
from enginebuild.convert.sensitivity import fewest_kept, relative_error, sensitivity
from enginebuild.datatypes import Arrays
from enginebuild.runtime import OnnxModel
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.fakes import tiny_recipe

INPUTS: Arrays = {"x": np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)}


def two_layers(path: Path) -> Path:
    """Write a network whose second layer has one huge weight in a column, which takes the range of all others."""
    random = np.random.default_rng(1)
    first, second = (random.normal(size=(8, 8)).astype(np.float32) for _ in range(2))
    spread = np.full((8, 8), 0.01, dtype=np.float32)
    spread[0, :] = 100.0
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], "harmless"),
        helper.make_node("MatMul", ["h", "b"], ["g"], "harmful"),
        helper.make_node("MatMul", ["g", "c"], ["y"], "last"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(w, n) for w, n in ((first, "a"), (second * spread, "b"), (second, "c"))],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


def test_every_operator_is_ranked_by_what_it_does_alone(tmp_path: Path) -> None:
    recipe = tiny_recipe.recipe(
        inputs=[{"name": "x", "datatype": "FP32", "dims": [8]}],
        outputs=[{"name": "y", "datatype": "FP32", "dims": [8], "labels": "labels.txt"}],
        metrics=[{"metric": "accuracy"}],
    )
    source = two_layers(tmp_path / "fp32.onnx")
    converter = Int8Converter(source, recipe, INPUTS, tmp_path)
    layers = sensitivity(converter, OnnxModel(source, 1), INPUTS, 16)
    assert [layer.operator for layer in layers] == ["MatMul"] * 3
    assert list(layers) == sorted(layers, key=lambda layer: -layer.error)
    assert all(0 < layer.error < 1 for layer in layers)
    assert converter.convert(tmp_path / "all.onnx") == 3
    assert converter.convert(tmp_path / "some.onnx", [layers[0].name]) == 2
    outputs = {
        name: relative_error(
            OnnxModel(source, 1).run_all(INPUTS, 16), OnnxModel(tmp_path / f"{name}.onnx", 1).run_all(INPUTS, 16)
        )
        for name in ("all", "some")
    }
    assert outputs["some"] < outputs["all"]


@given(st.integers(1, 64).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n + 1))))
def test_as_few_as_needed_are_kept_in_few_trials(sizes: tuple[int, int]) -> None:
    total, needed = sizes
    names = [str(i) for i in range(total)]
    tried: list[int] = []

    def is_enough(kept: Sequence[str]) -> bool:
        tried.append(len(kept))
        return len(kept) >= needed

    kept = fewest_kept(names, is_enough)
    assert kept == (tuple(names[:needed]) if needed < total else None)
    assert len(tried) <= 2 * math.log2(total) + 3
    assert 0 not in tried
    assert total not in tried


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_output_that_is_no_number_is_the_largest_error(value: float) -> None:
    assert relative_error({"y": np.ones(4)}, {"y": np.array([1, 1, 1, value])}) == 1e6
    assert relative_error({"y": np.ones(4)}, {"y": np.ones(4)}) == 0
