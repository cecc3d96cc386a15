"""CPU seconds of servers, of everything that belongs to a benchmark, and of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import psutil

from loadtest.bench.part import Part


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """CPU seconds since some start.

    Attributes:
        parts_s: Of each part with its children, by its name.
        ours_s: Of all parts, this process and its ended children, such as the load generator.
        idle_s: Of the machine, doing nothing.
        machine_s: Of the machine, all of it.
    """

    parts_s: dict[str, float]
    ours_s: float
    idle_s: float
    machine_s: float

    @classmethod
    def now(cls, parts: Sequence[Part]) -> Self:
        """Read the clocks."""
        used = {part.name: part.cpu_s() for part in parts}
        # The parts are children that still run, so they are not in the children's times.
        own = psutil.Process().cpu_times()
        machine = psutil.cpu_times()
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        ours = sum(used.values()) + own.user + own.system + own.children_user + own.children_system
        return cls(used, ours, idle, sum(machine))

    def since(self, earlier: CpuTimes) -> CpuTimes:
        """Return what was used between the two."""
        parts = {name: now - earlier.parts_s[name] for name, now in self.parts_s.items()}
        return CpuTimes(
            parts, self.ours_s - earlier.ours_s, self.idle_s - earlier.idle_s, self.machine_s - earlier.machine_s
        )

    @property
    def others_share(self) -> float:
        """Share of the machine that went to processes that have no part in this."""
        return max(0.0, 1.0 - (self.ours_s + self.idle_s) / self.machine_s) if self.machine_s else 0.0
