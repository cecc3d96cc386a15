"""An exported model takes any batch and computes what PyTorch computes, or there is none."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from enginebuild.convert.export import assert_dynamic, export_onnx, relative_difference
from enginebuild.network import NamedNetwork
from enginebuild.runtime import OnnxModel, repeat_to
from onnx import TensorProto, helper
from torch import Tensor, nn

from services.core.errors import BuildFailed
from tests.fakes import tiny_recipe

SAMPLES = {name: np.random.default_rng(0).random((7, 4), dtype=np.float32) for name in ("left", "right")}


class Sums(nn.Module):
    def __init__(self, trick: Any = None) -> None:
        super().__init__()
        self.mix = nn.Linear(8, 2)
        self.trick = trick or (lambda tensor: tensor)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.mix(self.trick(torch.cat([left, right], dim=1)))
        return scores, scores[:, :1] - scores[:, 1:]


def exported(path: Path, trick: Any = None) -> NamedNetwork:
    network = NamedNetwork(Sums(trick), tiny_recipe.recipe()).eval()
    export_onnx(network, tiny_recipe.recipe(), SAMPLES, path)
    return network


def test_an_exported_model_gives_pytorchs_outputs_at_every_batch_size(tmp_path: Path) -> None:
    network = exported(tmp_path / "model.onnx")
    model = OnnxModel(tmp_path / "model.onnx", threads=1)
    for size in (1, 2, 3, 7, 33):
        inputs = repeat_to(SAMPLES, size)
        expected, found = network.run(inputs, size), model.run(inputs)
        assert set(found) == {"scores", "difference"}
        for name, array in found.items():
            assert array.shape == expected[name].shape
            assert np.allclose(array, expected[name], atol=1e-5)


def test_an_exported_model_says_nothing_of_the_machine_that_made_it(tmp_path: Path) -> None:
    exported(tmp_path / "model.onnx")
    data = (tmp_path / "model.onnx").read_bytes()
    assert b"site-packages" not in data
    assert str(Path(__file__).parents[3]).encode() not in data


@pytest.mark.parametrize(
    "trick",
    [
        lambda tensor: tensor.reshape(2, -1)[:, :8] if tensor.shape[0] == 2 else tensor,
        lambda tensor: tensor if tensor.sum() > 0 else -tensor,
    ],
    ids=["fixed batch", "control flow on values"],
)
def test_a_network_that_cannot_be_exported_is_refused_with_the_usual_causes(tmp_path: Path, trick: Any) -> None:
    with pytest.raises(BuildFailed, match=r"cannot be exported to ONNX: .*a batch size or another number fixed"):
        exported(tmp_path / "model.onnx", trick)


def graph(path: Path, **dims: list[int | str]) -> Path:
    """Write a model of the recipe's interface with any dimensions."""
    shapes: dict[str, list[int | str]] = {
        "left": ["n", 4],
        "right": ["n", 4],
        "scores": ["n", 2],
        "difference": ["n", 1],
    }
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (shapes | dims).items()
    }
    outputs = [values[name] for name in values if name not in {"left", "right"}]
    nodes = [helper.make_node("Identity", ["left"], [value.name]) for value in outputs]
    made = helper.make_graph(nodes, "g", [values["left"], values["right"]], outputs)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


@pytest.mark.parametrize(
    ("dims", "words"),
    [
        ({"left": [2, 4]}, "the batch dimension of input 'left' is the constant 2"),
        ({"scores": [2, 2]}, "the batch dimension of output 'scores' is the constant 2"),
        ({"difference": [1, 1]}, "the batch dimension of output 'difference' is the constant 1"),
        ({"scores": ["n", 2, 1]}, "output 'scores' has shape"),
        ({"more": ["n", 1]}, "has outputs scores, difference, more; the recipe says scores, difference"),
    ],
)
def test_a_constant_where_any_batch_must_fit_is_found(
    tmp_path: Path, dims: dict[str, list[int | str]], words: str
) -> None:
    with pytest.raises(BuildFailed, match=words):
        assert_dynamic(graph(tmp_path / "model.onnx", **dims), tiny_recipe.recipe())


def test_a_dimension_declared_as_any_size_must_be_symbolic(tmp_path: Path) -> None:
    inputs = [{"name": name, "datatype": "FP32", "dims": [-1]} for name in ("left", "right")]
    with pytest.raises(BuildFailed, match="the dimension 1 of input 'right' is the constant 4"):
        assert_dynamic(graph(tmp_path / "m.onnx", left=["n", "k"]), tiny_recipe.recipe(inputs=inputs))
    assert_dynamic(graph(tmp_path / "m.onnx", left=["n", "k"], right=["n", "k"]), tiny_recipe.recipe(inputs=inputs))


@pytest.mark.parametrize(
    ("expected", "found", "difference"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([0.1, 0.0], [0.1, 0.5], 0.5),
        ([100.0, 0.0], [100.0, 10.0], 0.1),
        ([np.nan, 1.0], [np.nan, 1.0], 0.0),
        ([np.inf], [np.nan], 0.0),
    ],
)
def test_differences_are_relative_to_the_range_and_never_to_less_than_one(
    expected: list[float], found: list[float], difference: float
) -> None:
    assert relative_difference(np.array(expected), np.array(found)) == pytest.approx(difference)


def test_whole_numbers_must_be_equal() -> None:
    assert relative_difference(np.array([1, 2]), np.array([1, 2])) == 0
    assert relative_difference(np.array([1, 2]), np.array([1, 3])) == 1


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(BuildFailed, match=r"ONNX Runtime cannot load model\.onnx"):
        OnnxModel(tmp_path / "model.onnx", threads=1)


def test_a_model_that_gets_other_inputs_says_so(tmp_path: Path) -> None:
    model = OnnxModel(graph(tmp_path / "model.onnx"), threads=1)
    with pytest.raises(BuildFailed, match=r"ONNX Runtime cannot run model\.onnx"):
        model.run({"left": SAMPLES["left"]})


class AnyLength(nn.Module):
    """Averages over a length; with ``baked`` the length of the example becomes part of the graph."""

    def __init__(self, *, baked: bool) -> None:
        super().__init__()
        self.baked = baked

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        length = torch.tensor(6.0) if self.baked and torch.compiler.is_exporting() else left.shape[1]
        mean = (left * right).sum(dim=1, keepdim=True) / length
        return torch.cat([mean, -mean], dim=1), mean


def any_length(path: Path, *, baked: bool) -> None:
    inputs = [{"name": name, "datatype": "FP32", "dims": [-1]} for name in ("left", "right")]
    recipe = tiny_recipe.recipe(inputs=inputs)
    samples = {name: np.random.default_rng(0).random((7, 6), dtype=np.float32) + 1 for name in ("left", "right")}
    export_onnx(NamedNetwork(AnyLength(baked=baked), recipe).eval(), recipe, samples, path)


def test_a_dimension_of_any_size_is_tried_at_another_size_than_the_examples(tmp_path: Path) -> None:
    any_length(tmp_path / "model.onnx", baked=False)
    found = OnnxModel(tmp_path / "model.onnx", 1).run({name: np.full((3, 50), 2, "f4") for name in ("left", "right")})
    assert np.allclose(found["difference"], 4)
    with pytest.raises(BuildFailed, match=r"'scores' differs from PyTorch .* for left \[2, 3\], right \[2, 3\]"):
        any_length(tmp_path / "baked.onnx", baked=True)
