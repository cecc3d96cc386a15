"""The port between the build and the runtimes that it builds for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from enginebuild.candidates import Made
from enginebuild.datatypes import Arrays
from enginebuild.recipe.variants import Variant
from services.core.records.manifest import LayerEntry, TargetEntry


@dataclass(frozen=True, slots=True)
class Backend:
    """How Triton runs what a target makes.

    Attributes:
        name: Triton's backend.
        model_file: The file that the backend looks for in a version's folder.
        kind: Where instances run, in config.pbtxt's words.
        parameters: The backend's own parameters.
    """

    name: str
    model_file: str
    kind: str
    parameters: Mapping[str, int] = field(default_factory=dict)


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
        backend: How Triton runs what it makes.
    """

    entry: TargetEntry
    provider: str
    backend: Backend

    def make(self, variant: Variant, kept: Sequence[str] = ()) -> Made:
        """Make a variant, an INT8 one without some operators.

        Raises:
            BuildFailed: It cannot be made, or this machine could not run it.
        """
        ...

    def proved(self, made: Made) -> Made:
        """Return what was made with the runtime's own evidence for it, once it is good enough to be published.

        Raises:
            BuildFailed: The evidence speaks against it.
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
