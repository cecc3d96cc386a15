"""The networks of one build: the trained one, and those that variants make of it, each exported once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from enginebuild.compress.compressor import Compressor
from enginebuild.compress.rebuild import rebuild
from enginebuild.convert.export import export_onnx
from enginebuild.datatypes import Arrays
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.variants import BASELINE, Variant
from enginebuild.targets.target import Target
from services.core.records.compression_record import CompressionEntry

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
        self._exported: dict[Key, Path] = {}

    def target_of(self, variant: Variant) -> Target:
        """Return what makes and runs a variant; its network is made and exported when it is first asked for.

        Raises:
            BuildFailed: The network cannot be made or exported.
        """
        key = _key(variant)
        if key not in self._targets:
            folder = self._folder / f"network-{len(self._targets)}"
            folder.mkdir()
            self._exported[key] = folder / f"{BASELINE}.onnx"
            self._parameters[key] = self._make(variant, self._exported[key])
            self._targets[key] = self._make_target(self._exported[key])
        return self._targets[key]

    def entry_of(self, variant: Variant) -> CompressionEntry | None:
        """Return what was done to a variant's network, and whether that gives the same again; None where nothing was.

        Raises:
            BuildFailed: It cannot be made again.
        """
        compression, key = self._recipe.compression, _key(variant)
        if not variant.techniques or compression is None:
            return None

        def make(path: Path) -> None:
            self._make(variant, path)

        again = rebuild(self._exported[key], compression.builds, make) if compression.builds > 1 else None
        return CompressionEntry(
            techniques=variant.techniques,
            fine_tuned_by=compression.fine_tune,
            parameters=self._parameters[key],
            threads=compression.threads,
            rebuild=again,
        )

    def _make(self, variant: Variant, path: Path) -> int:
        """Make a variant's network and write its ONNX model; return how many parameters it has."""
        network = self._compressor.compressed(variant)
        export_onnx(network, self._recipe, self._samples, path)
        return network.parameters_count


def _key(variant: Variant) -> Key:
    """Return what two variants of one network have in common: all but the name and the precision, exactly."""
    if not variant.techniques:
        return ""
    return variant.model_dump_json(exclude={"name", "precision"})
