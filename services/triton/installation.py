"""What a Triton on this machine offers to whoever starts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.triton.finding import Finding


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a server.

    Attributes:
        executable: The ``tritonserver`` program.
        backend_directory: Directory that has ``onnxruntime`` among its backends.
        environment: The whole environment.
    """

    executable: Path
    backend_directory: Path
    environment: Mapping[str, str]


class TritonInstallation(Protocol):
    """A Triton that was found. Adapters: ``NativeTriton``, ``EmbeddedTriton``."""

    @property
    def executable(self) -> Path:
        """The ``tritonserver`` program."""
        ...

    def findings(self) -> list[Finding]:
        """Check what it needs on this machine."""
        ...

    def prepare(self, directory: Path) -> Launch:
        """Make it ready to start, with ``directory`` for what must be written.

        Raises:
            MissingDependency: Something that it needs is missing.
            ConfigurationError: The directory cannot be written.
        """
        ...
