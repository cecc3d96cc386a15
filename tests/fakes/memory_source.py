"""A ``MemorySource`` that says what it is told to."""

from __future__ import annotations

from collections.abc import Mapping

from services.core.memory.preflight import Need
from services.core.memory.report import MemoryReport, MemoryReports, Space, VersionMemory
from services.core.memory.terms import MIB


class FakeMemorySource:
    """One Triton with 8 GiB, half of which is free, and 100 MiB for each of versions 1 to 4 of ``digits``.

    Attributes:
        grown: What a version takes beyond that, bytes.
        instead: What is said instead of all that; None for that.
        host: The memory of the whole.
        loaded: The versions that have processes.
        looks: How often it was asked.
    """

    def __init__(self) -> None:
        self.grown: dict[int, int] = {}
        self.instead: MemoryReports | None = None
        self.looks = 0
        self.host = Space(8192 * MIB, 4096 * MIB)
        self.loaded: tuple[int, ...] = (1, 2, 3, 4)

    async def reports(self) -> MemoryReports:
        self.looks += 1
        if self.instead is not None:
            return self.instead
        return MemoryReports({"t:8000": MemoryReport(self.host, versions=self._versions())})

    def _versions(self) -> Mapping[tuple[str, int], VersionMemory]:
        return {
            ("digits", version): VersionMemory(100 * MIB + self.grown.get(version, 0), 1, 1000.0)
            for version in self.loaded
        }


def modest_need(model: str, stable: int, challengers: tuple[int, ...]) -> Need:
    """Say that every version has files of 10 MiB and one instance."""
    return Need(model, stable, 10 * MIB, dict.fromkeys(challengers, 10 * MIB), 1, 0)
