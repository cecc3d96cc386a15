"""The trained weights of a version, for its manifest: what they are and where they came from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """A version of a registered model in MLflow that a file was taken from.

    Attributes:
        server: The address of the server.
        model: Name of the registered model.
        version: Its version there, which is MLflow's number and not Triton's.
        run_id: The run that made it; None for a version without one.
        path: The file among the version's artifacts.
    """

    server: str
    model: str
    version: int
    run_id: str | None
    path: str


@dataclass(frozen=True, slots=True)
class CheckpointEntry:
    """The trained weights.

    Attributes:
        file: Name of the file.
        sha256: Its digest.
        parameters: How many parameters the network has.
        registry: The registered model that the file came from; None for a file of this machine.
    """

    file: str
    sha256: str
    parameters: int
    registry: RegistryEntry | None
