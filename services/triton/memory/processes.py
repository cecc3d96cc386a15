"""What each model version's own processes take under one Triton: their private memory, from ``/proc``.

Private is what the kernel calls anonymous, swapped out or not. Files (libraries, a mapped model) and shared memory
(Triton's regions) are left out: they come and go with other processes, and no leak of a model grows them.
"""

from __future__ import annotations

from pathlib import Path

import psutil

from services.core.memory.report import VersionMemory
from services.triton.stub_watch import ModelVersion, StubWatch

_PROC = Path("/proc")
_PRIVATE = frozenset({"RssAnon", "VmSwap"})
_KIB = 1024


def version_memory(watch: StubWatch) -> dict[ModelVersion, VersionMemory]:
    """Return what the living processes of every version take; a version without one of its own is not in it."""
    found: dict[ModelVersion, VersionMemory] = {}
    for version, process in watch.processes():
        try:
            own, began = private_bytes(process.pid), process.create_time()
        except (psutil.Error, OSError, ValueError):
            continue  # it ended while we looked
        known = found.get(version, VersionMemory(0, 0, 0.0))
        found[version] = VersionMemory(
            known.private_bytes + own, known.processes + 1, max(known.started_at, round(began, 2))
        )
    return found


def private_bytes(pid: int) -> int:
    """Return the private memory of one process.

    Raises:
        OSError: There is no such process.
    """
    total = 0
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key in _PRIVATE:
            total += int(value.split()[0]) * _KIB
    return total
