"""One case against a bare Triton: what it did to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtest.hostile.bare import BareTriton, answers
from loadtest.hostile.cases import Case, Request, Target
from loadtest.hostile.wire import Reply, http, rpc

# How long a bare Triton may be silent before it counts as hung, and is ended.
PATIENCE_S = 4.0
# Memory that one request of a few megabytes may not cost.
_MUCH_MIB = 512
_SAMPLE_S = 0.02
_SETTLE_S = 0.3


@dataclass(frozen=True)
class Harm:
    """What a case did to a bare Triton.

    Attributes:
        ended: Signal or exit status in words; empty when it still runs.
        silent_s: How long nobody else was answered, ``PATIENCE_S`` for ever.
        grown_mib: By how much its memory grew at most.
        ran: Whether it ran the client's code.
    """

    ended: str
    silent_s: float
    grown_mib: int
    ran: bool

    @property
    def words(self) -> str:
        """What happened, in words; empty for no harm."""
        if self.ended:
            return f"ended by {self.ended} after {self.silent_s:.1f} s"
        if self.silent_s >= PATIENCE_S:
            return f"answers nobody for {self.silent_s:.0f} s, then given up"
        if self.ran:
            return "runs the client's code"
        return f"takes {self.grown_mib} MiB" if self.grown_mib >= _MUCH_MIB else ""


def strike(bare: BareTriton, case: Case, marker: Path) -> Harm:
    """Send a case to a bare Triton, which is started if it has to be."""
    bare.ensure()
    marker.unlink(missing_ok=True)
    requests = case.make(Target(marker, bare.regions()))
    begun = time.monotonic()
    alive = False
    with _watched(bare) as peak:
        before = peak[0]
        for request in requests:
            if bare.ended():
                break
            send(case, request, rest=bare.rest, grpc=bare.grpc, timeout_s=PATIENCE_S)
        asked = time.monotonic()
        while not alive and not bare.ended() and time.monotonic() - asked < PATIENCE_S:
            alive = answers(bare.rest, 1.0)
        silent_s = 0.0 if alive else time.monotonic() - begun
        time.sleep(_SETTLE_S)
    ended = bare.ended()
    return Harm(ended, silent_s, peak[0] - before, marker.exists())


def send(case: Case, request: Request, *, rest: str, grpc: str, timeout_s: float) -> Reply:
    """Send one request of a case over its protocol."""
    if isinstance(request, bytes) and not case.method:
        return http(rest, request, timeout_s)
    return rpc(grpc, case.method, request, timeout_s)


@contextmanager
def _watched(bare: BareTriton) -> Iterator[list[int]]:
    """Sample a Triton's memory until the context ends; the value is the highest so far, in MiB."""
    peak, stop = [bare.resident_mib], threading.Event()

    def watch() -> None:
        while not stop.wait(_SAMPLE_S):
            peak[0] = max(peak[0], bare.resident_mib)

    watcher = threading.Thread(target=watch, name="memory of a bare Triton")
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()
