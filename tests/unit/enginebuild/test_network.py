"""A network is seen as named inputs to named outputs, whatever form it returns them in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from enginebuild.checkpoint import Weights
from enginebuild.network import NamedNetwork, load_exported, load_network
from enginebuild.recipecode import RecipeCode
from torch import Tensor, nn

from services.core.errors import ConfigurationError
from tests.fakes import tiny_recipe
from tests.fakes.exported_network import export

INPUTS = {name: np.random.default_rng(0).random((10, 4), dtype=np.float32) for name in ("left", "right")}


class Returning(nn.Module):
    """Returns what a function makes of its two inputs."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make

    def forward(self, left: Tensor, right: Tensor) -> Any:
        return self.make(left, right)


def run(make: Any, batch_size: int = 4) -> dict[str, Any]:
    return NamedNetwork(Returning(make), tiny_recipe.recipe()).eval().run(INPUTS, batch_size)


@pytest.mark.parametrize(
    "make",
    [
        lambda left, right: (left[:, :2], right[:, :1]),
        lambda left, right: [left[:, :2], right[:, :1]],
        lambda left, right: {"difference": right[:, :1], "extra": None, "scores": left[:, :2]},
    ],
    ids=["tuple", "list", "mapping"],
)
@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_outputs_get_the_recipes_names_at_any_batch_size(make: Any, batch_size: int) -> None:
    outputs = run(make, batch_size)
    assert np.array_equal(outputs["scores"], INPUTS["left"][:, :2])
    assert np.array_equal(outputs["difference"], INPUTS["right"][:, :1])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda left, right: left, "returns 1 outputs, the recipe declares scores, difference"),
        (lambda left, right: (left, left, left), "returns 3 outputs"),
        (lambda left, right: {"scores": left}, "returns no output 'difference'; it returns scores"),
        (lambda left, right: (left[:, :2], 3.0), "output 'difference' is a float, not a tensor"),
        (lambda left, right: (left[:, :2], None), "output 'difference' is a NoneType"),
        (lambda left, right: (left[:, :3], right[:, :1]), r"'scores' as FP32 \[10, 3\].*says FP32 \[10, 2\]"),
        (lambda left, right: (left[:, :2].double(), right[:, :1]), "'scores' as FP64"),
        (lambda left, right: (left[:1, :2], right[:, :1]), r"'scores' as FP32 \[3, 2\] for 10 samples"),
        (lambda left, right: (left @ right, right), "fails on the recipe's data .*RuntimeError"),
        (lambda left, right: left.no_such_method(), "AttributeError"),
    ],
    ids=range(10),
)
def test_what_the_recipe_does_not_say_is_refused_with_both_sides_named(make: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        run(make)


def test_the_network_is_made_by_the_factory_with_its_arguments_and_weights(tmp_path: Path) -> None:
    tiny_recipe.write(tmp_path)
    weights = Weights("w", "", {"mix.weight": torch.ones(2, 8)})
    with RecipeCode(tmp_path) as code:
        network = load_network(tiny_recipe.recipe(), code, weights)
    assert not network.training
    assert network.parameters_count == 16
    assert network.run(INPUTS, 4)["scores"].shape == (10, 2)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"factory": "model.py:sums", "kwargs": {"depth": 3}}, "unexpected keyword argument 'depth'"),
        ({"factory": "model.py:sums", "kwargs": {"width": 5}}, r"is \[2, 8\], the network has \[2, 10\]"),
        ({"factory": "data.py:calibration"}, "returns a dict, expected a torch.nn.Module"),
    ],
)
def test_a_factory_that_does_not_fit_is_refused(tmp_path: Path, network: dict[str, Any], words: str) -> None:
    tiny_recipe.write(tmp_path)
    weights = Weights("w", "", {"mix.weight": torch.ones(2, 8)})
    with RecipeCode(tmp_path) as code, pytest.raises(ConfigurationError, match=words):
        load_network(tiny_recipe.recipe(network=network), code, weights)


EXPORTED: dict[str, Any] = {"network": {"exported": "network.pt2"}, "checkpoint": None}


def test_an_exported_network_needs_neither_code_nor_checkpoint(tmp_path: Path) -> None:
    network, weights = load_exported(tiny_recipe.recipe(**EXPORTED), export(tmp_path))
    assert (weights.file, network.parameters_count) == ("network.pt2", 16)
    assert len(weights.sha256) == 64
    assert network.run(INPUTS, 4)["scores"].shape == (10, 2)


def test_an_exported_network_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path) -> None:
    recipe = tiny_recipe.recipe(**EXPORTED)
    with pytest.raises(ConfigurationError, match=r"network\.pt2 cannot be read"):
        load_exported(recipe, tmp_path / "network.pt2")
    (tmp_path / "network.pt2").write_bytes(b"not an archive")
    with pytest.raises(ConfigurationError, match=r"is no exported program .*torch\.export\.save"):
        load_exported(recipe, tmp_path / "network.pt2")
    with pytest.raises(ConfigurationError, match="holds 16 NaN or infinite of 16 values"):
        load_exported(recipe, export(tmp_path / "nan", weight=float("nan")))
    network, _ = load_exported(recipe, export(tmp_path / "fixed", batch=None))
    with pytest.raises(ConfigurationError, match="the network fails on the recipe's data"):
        network.run(INPUTS, 4)
