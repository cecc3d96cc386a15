"""The networks of one build: the trained one, and those that variants make of it, each exported once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from enginebuild.compress.compressor import Compressor
from enginebuild.convert.export import export_onnx
from enginebuild.datatypes import Arrays
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.variants import BASELINE, Variant
from enginebuild.targets.target import Target
from services.core.manifest import CompressionEntry

Key = str


class Networks:
    """Gives each variant the target of its own network.

    Args:
        recipe: What is built.
        compressor: Makes the networks.
        trained: The target of the trained network.
        make_target: Makes the target of a network from the path of its FP32 ONNX model.
        samples: Held-out inputs, which exports are checked on.
        folder: Where to work.
    """

    def __init__(
        self,
        *,
        recipe: Recipe,
        compressor: Compressor,
        trained: Target,
        make_target: Callable[[Path], Target],
        samples: Arrays,
        folder: Path,
    ) -> None:
        self._recipe, self._compressor, self._make_target = recipe, compressor, make_target
        self._samples, self._folder = samples, folder
        self._targets: dict[Key, Target] = {"": trained}
        self._parameters: dict[Key, int] = {}

    def target_of(self, variant: Variant) -> Target:
        """Return what makes and runs a variant; its network is made and exported when it is first asked for.

        Raises:
            BuildFailed: The network cannot be made or exported.
        """
        key = _key(variant)
        if key not in self._targets:
            network = self._compressor.compressed(variant)
            folder = self._folder / f"network-{len(self._targets)}"
            folder.mkdir()
            exported = folder / f"{BASELINE}.onnx"
            export_onnx(network, self._recipe, self._samples, exported)
            self._parameters[key] = network.parameters_count
            self._targets[key] = self._make_target(exported)
        return self._targets[key]

    def entry_of(self, variant: Variant) -> CompressionEntry | None:
        """Return what was done to a variant's network; None where nothing was."""
        compression = self._recipe.compression
        if not variant.techniques or compression is None:
            return None
        return CompressionEntry(variant.techniques, compression.fine_tune, self._parameters[_key(variant)])


def _key(variant: Variant) -> Key:
    """Return what two variants of one network have in common: all but the name and the precision, exactly."""
    if not variant.techniques:
        return ""
    return variant.model_dump_json(exclude={"name", "precision"})
