"""The port between the build and the runtimes that it builds for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from enginebuild.candidates import Made
from enginebuild.datatypes import Arrays
from enginebuild.recipe.variants import Variant
from services.core.manifest import LayerEntry, TargetEntry


class Model(Protocol):
    """A converted network, ready to run."""

    def run_all(self, inputs: Arrays, batch_size: int) -> Arrays:
        """Return the outputs for all samples, computed ``batch_size`` at a time.

        Raises:
            BuildFailed: The runtime cannot run it.
        """
        ...

    def once(self, inputs: Arrays) -> Callable[[], object]:
        """Return a function that runs one fixed batch, with nothing else in it to be timed."""
        ...


class Target(Protocol):
    """A runtime on this machine.

    Attributes:
        entry: What it is, for the manifest.
        provider: What computes, for the manifest's speed.
    """

    entry: TargetEntry
    provider: str

    def make(self, variant: Variant, kept: Sequence[str] = ()) -> Made:
        """Make a variant, an INT8 one with some operators in FP32.

        Raises:
            BuildFailed: It cannot be made, or this machine could not run it.
        """
        ...

    def sensitivity(self) -> tuple[LayerEntry, ...]:
        """Return what quantising each operator alone does to the outputs, worst first; empty where it cannot tell."""
        ...

    def load(self, path: Path) -> Model:
        """Load what was made.

        Raises:
            BuildFailed: The runtime cannot load it.
        """
        ...
