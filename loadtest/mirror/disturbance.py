"""How much of the machine other processes took that do not step back for ours."""

from __future__ import annotations

from collections.abc import Sequence

import psutil

from loadtest.bench.cpu import CpuTimes
from loadtest.bench.part import Part


class Disturbance:
    """Measures from its making on. What runs with a higher nice value gives way to ours and counts as idle.

    Args:
        parts: Processes that are ours, beside this one.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = list(parts)
        self._begun, self._niced_s = CpuTimes.now(self._parts), _niced_s()

    def share(self) -> float:
        """Return the share of the machine's CPU since then."""
        since = CpuTimes.now(self._parts).since(self._begun)
        if not since.machine_s:
            return 0.0
        stepped_back_s = _niced_s() - self._niced_s
        return max(0.0, 1.0 - (since.ours_s + since.idle_s + stepped_back_s) / since.machine_s)


def _niced_s() -> float:
    return float(getattr(psutil.cpu_times(), "nice", 0.0))
