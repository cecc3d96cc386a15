"""One case against the gateway: is it refused (or served), how fast, and does the Triton behind it notice?"""

from __future__ import annotations

import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil

from loadtest.bench.system import System, get
from loadtest.hostile.bare import answers, regions_of
from loadtest.hostile.cases import Case, Target
from loadtest.hostile.strike import send
from loadtest.hostile.wire import Reply

TIMES = 3
SMALL_BYTES = 1_000_000
# How long a refusal may take: of a small request, and of one of several megabytes, its transfer included.
SMALL_MS, LARGE_MS = 50.0, 1000.0
_TIMEOUT_S = 30.0
_POLL_S = 0.02
# INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNIMPLEMENTED
_GRPC_REFUSALS = frozenset({3, 5, 7, 8, 12})
_PREFIX = re.compile("python,shm-region-prefix-name=(.+)")


@dataclass(frozen=True)
class Refusal:
    """What the gateway made of a case.

    Attributes:
        bytes: Size of the case's largest request.
        status: HTTP or gRPC status of the last request.
        words: Its explanation.
        median_ms: Of all requests, sent ``TIMES`` times.
        worst_ms: The slowest of them.
        faults: What should not have happened, in words.
    """

    bytes: int
    status: int | None
    words: str
    median_ms: float
    worst_ms: float
    faults: tuple[str, ...]

    @property
    def bound_ms(self) -> float:
        """How long it may take."""
        return SMALL_MS if self.bytes <= SMALL_BYTES else LARGE_MS


class Behind:
    """The Triton behind the gateway: the same process, with the same counts, as before a case."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._process: psutil.Process = system.direct.child("tritonserver")
        self._counts = self._read()

    def regions(self) -> tuple[str, ...]:
        """Return the names of its shared memory."""
        found = [match[1] for word in self._process.cmdline() if (match := _PREFIX.search(word))]
        return regions_of(found[0]) if found else ()

    def faults(self, *, served: bool) -> list[str]:
        """Return how it differs from what it was, in words; its counts count unless something was served."""
        now: psutil.Process = self._system.direct.child("tritonserver")
        if now != self._process:
            return [f"Triton is another process: {self._process.pid} became {now.pid}"]
        counts = self._read()
        faults = (
            [f"Triton counted something: {self._counts} became {counts}"]
            if counts != self._counts and not served
            else []
        )
        if not answers(self._system.gateway.rest, _TIMEOUT_S):
            return [*faults, "the gateway does not answer an ordinary request any more"]
        # Triton counts an inference after it has answered it.
        deadline = time.monotonic() + _TIMEOUT_S
        while (after := self._read()) == counts and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        self._counts = after
        return faults

    def _read(self) -> dict[str, tuple[int, int]]:
        document = orjson.loads(get(self._system.direct.rest, "/v2/models/stats"))
        return {
            f"{row['name']}/{row['version']}": tuple(
                row["inference_stats"][what]["count"] for what in ("success", "fail")
            )
            for row in document["model_stats"]
        }


def refused(system: System, behind: Behind, case: Case, marker: Path) -> Refusal:
    """Send a case through the gateway, several times."""
    marker.unlink(missing_ok=True)
    requests = case.make(Target(marker, behind.regions()))
    replies: list[Reply] = []
    for _ in range(TIMES):
        gateway = system.gateway
        replies += [send(case, one, rest=gateway.rest, grpc=gateway.grpc, timeout_s=_TIMEOUT_S) for one in requests]
    right = _is_answer if case.served else _is_refusal
    faults = [f"answered {reply.status}: {reply.words}" for reply in replies if not right(case, reply)]
    if marker.exists():
        faults.append("the client's code ran")
    faults += behind.faults(served=case.served)
    times = [reply.ms for reply in replies]
    size = max(len(one) if isinstance(one, bytes) else sum(map(len, one)) for one in requests)
    last = replies[-1]
    return Refusal(size, last.status, last.words, statistics.median(times), max(times), tuple(dict.fromkeys(faults)))


def _is_answer(_case: Case, reply: Reply) -> bool:
    return reply.status == 0 and "error" not in reply.words


def _is_refusal(case: Case, reply: Reply) -> bool:
    if reply.status is None:
        return False
    return reply.status in _GRPC_REFUSALS if case.method else 400 <= reply.status < 500  # noqa: PLR2004 - HTTP
