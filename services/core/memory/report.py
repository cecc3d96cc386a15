"""What one Triton says of its memory. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.core.memory.terms import MIB


@dataclass(frozen=True, slots=True)
class Space:
    """Memory of a container, a machine or a GPU, bytes: all of it, and what is left."""

    total_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True)
class VersionMemory:
    """What the processes of one model version take on one server.

    Attributes:
        private_bytes: Memory that only they hold, swapped out or not: neither files nor shared memory.
        processes: How many there are.
        started_at: When the youngest began, seconds since the epoch: another number is another process.
    """

    private_bytes: int
    processes: int
    started_at: float


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """One Triton.

    Attributes:
        host: The memory that it and its models' processes share; None where nobody says.
        gpus: That of each GPU, by its name.
        versions: By model and version, where each has processes of its own.
    """

    host: Space | None = None
    gpus: Mapping[str, Space] = field(default_factory=dict)
    versions: Mapping[tuple[str, int], VersionMemory] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemoryReports:
    """What all Tritons say: their reports by name, and why the others have none."""

    known: Mapping[str, MemoryReport] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def problem(self) -> str:
        """Everything that is wrong, in words; empty where nothing is."""
        if not self.known and not self.problems:
            return "no Triton is known yet"
        return "; ".join(f"{name}: {words}" for name, words in sorted(self.problems.items()))


def size(number_of_bytes: float) -> str:
    """Return an amount of memory for a person."""
    mib = number_of_bytes / MIB
    return f"{mib / 1024:.1f} GiB" if abs(mib) >= 1024 else f"{mib:.0f} MiB"  # noqa: PLR2004 - MiB in a GiB
