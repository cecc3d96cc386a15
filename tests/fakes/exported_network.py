"""The network of ``tiny_recipe`` as somebody else would hand it over: one file of ``torch.export.save``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from enginebuild.checkpoint import Weights
from enginebuild.network import load_network
from enginebuild.recipecode import RecipeCode

from tests.fakes import tiny_recipe


def export(folder: Path, *, batch: Any = torch.export.Dim.DYNAMIC, weight: float = 1.0) -> Path:
    """Write the recipe, and its network with equal weights as ``network.pt2``."""
    tiny_recipe.write(folder)
    with RecipeCode(folder) as code:
        network = load_network(tiny_recipe.recipe(), code, Weights("w", "", {"mix.weight": torch.full((2, 8), weight)}))
        shapes = {"left": {0: batch}, "right": {0: batch}} if batch is not None else None
        example = (torch.ones(2, 4), torch.ones(2, 4))
        program = torch.export.export(network.network.eval(), example, dynamic_shapes=shapes)
        torch.export.save(program, folder / "network.pt2")
    return folder / "network.pt2"
