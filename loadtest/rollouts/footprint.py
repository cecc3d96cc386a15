"""Synthetic memory of a version's processes: what is kept for good, what is collected, what fills once, and noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.core.memory.course import MemoryReading
from services.core.memory.report import MemoryReport, MemoryReports, Space, VersionMemory
from services.core.memory.terms import MIB

SERVER = "triton:8000"
_SPACE = Space(64 << 30, 32 << 30)


@dataclass(frozen=True)
class Footprint:
    """How much private memory a version takes.

    Attributes:
        base_mib: From the start.
        kept_bytes: For good, with every answer: a leak.
        fills_mib: Of a cache in the end, and
        fills_within_s: how long it takes until that is full to 63 %.
        collected_mib: What a garbage collector finds at its turn, and
        collected_every_s: how often that is.
        noise_mib: Standard deviation of one look's noise, of which the absolute value counts.
        wander_mib: Standard deviation of a random walk's step from one look to the next.
    """

    base_mib: float = 600.0
    kept_bytes: int = 0
    fills_mib: float = 0.0
    fills_within_s: float = 60.0
    collected_mib: float = 0.0
    collected_every_s: float = 45.0
    noise_mib: float = 1.0
    wander_mib: float = 0.3

    def at(self, seconds: float, answers: int, phase: float) -> float:
        """Return the memory in MiB, without noise, after so many seconds and answers.

        Args:
            seconds: Since the processes started.
            answers: That they gave since.
            phase: How far the garbage collector was from one turn to the next at the start, 0 to 1.
        """
        filled = self.fills_mib * (1 - math.exp(-seconds / self.fills_within_s))
        collected = self.collected_mib * ((seconds / self.collected_every_s + phase) % 1.0)
        return self.base_mib + filled + collected + self.kept_bytes * answers / MIB


class Processes:
    """The processes of two versions on one Triton.

    Args:
        versions: Both, each as model and version, stable first.
        footprints: How much memory they take.
        chance: Of noise and random walk.
    """

    def __init__(
        self,
        versions: tuple[tuple[str, int], tuple[str, int]],
        footprints: tuple[Footprint, Footprint],
        chance: np.random.Generator,
    ) -> None:
        self._versions, self._footprints, self._chance = versions, footprints, chance
        self._walked = [0.0, 0.0]
        self._phases = [float(chance.random()), float(chance.random())]

    def reading(self, at: float, answers: Sequence[int]) -> MemoryReading:
        """Return a look at their memory, seconds after they started, when they had given so many answers."""
        reports = {}
        for side, (version, footprint) in enumerate(zip(self._versions, self._footprints, strict=True)):
            self._walked[side] += float(self._chance.normal(0.0, footprint.wander_mib))
            noise = self._walked[side] + abs(float(self._chance.normal(0.0, footprint.noise_mib)))
            private = int((footprint.at(at, answers[side], self._phases[side]) + noise) * MIB)
            reports[version] = VersionMemory(private, 1, float(side))
        return MemoryReading(at, MemoryReports({SERVER: MemoryReport(_SPACE, versions=reports)}))
