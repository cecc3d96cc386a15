"""Lines about single requests: those that failed through our fault or were slow, and where it is wished, all.

An outage must not fill the disk: a second has a bounded number of lines, and a later line says how many more it would
have had.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from services.core.errors import INTERNAL, OK, STATUS
from services.gateway.logs import FIELDS, LogSettings
from services.gateway.tracing.context import trace_id_text
from services.gateway.tracing.ended import Ended

FAULTS = frozenset({row.outcome for row in (INTERNAL, *STATUS.values()) if row.server_fault})
_MAX_WORDS = 300

_log = logging.getLogger(__name__)


class RequestLog:
    """Writes lines about requests.

    Args:
        settings: Which.
        clock: Seconds, monotonic.
    """

    def __init__(self, settings: LogSettings, clock: Callable[[], float]) -> None:
        self._access = settings.access
        self._slow_s = settings.slow_request_s or math.inf
        self._failures = _Allowance(settings.lines_per_s, clock)
        self._slow = _Allowance(settings.lines_per_s, clock)

    @property
    def from_s(self) -> float:
        """How long an answered request takes at least that has a line."""
        return 0.0 if self._access else self._slow_s

    def ended(self, request: Ended) -> None:
        """Write the line of a request, where it has one."""
        if request.outcome in FAULTS:
            self._write(logging.ERROR, request, None if self._access else self._failures)
        elif request.outcome == OK.outcome and request.duration_s >= self._slow_s:
            self._write(logging.WARNING, request, None if self._access else self._slow)
        elif self._access:
            self._write(logging.INFO, request, None)

    def tick(self) -> None:
        """Say what was suppressed, when a second is over and no other line would say it; called now and then."""
        for allowance, what in ((self._failures, "failed"), (self._slow, "slow")):
            suppressed = allowance.settled()
            if suppressed:
                fields = {"suppressed": suppressed}
                _log.warning("%d more requests %s without a line", suppressed, what, extra={FIELDS: fields})

    def _write(self, level: int, request: Ended, allowance: _Allowance | None) -> None:
        if allowance is not None and not allowance.take():
            return
        fields = _fields(request)
        suppressed = allowance.suppressed() if allowance is not None else 0
        if suppressed:
            fields["suppressed"] = suppressed
        _log.log(
            level,
            "%s request for %r: %s after %.1f ms%s",
            request.protocol,
            request.model[:_MAX_WORDS],
            request.outcome,
            request.duration_s * 1000,
            f" ({' '.join(request.error[:_MAX_WORDS].split())})" if request.error else "",
            extra={FIELDS: fields},
        )


class _Allowance:
    """So many lines in each second."""

    __slots__ = ("_clock", "_left", "_most", "_second", "_suppressed")

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._second = -1
        self._left = most
        self._suppressed = 0

    def take(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._left = second, self._most
        if not self._left:
            self._suppressed += 1
            return False
        self._left -= 1
        return True

    def suppressed(self) -> int:
        """Return how many were refused since the last one that was not."""
        count, self._suppressed = self._suppressed, 0
        return count

    def settled(self) -> int:
        """Return the same, once their second is over."""
        return self.suppressed() if self._suppressed and int(self._clock()) != self._second else 0


def _fields(request: Ended) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "protocol": request.protocol,
        "model": request.model,
        "outcome": request.outcome,
        "duration_ms": round(request.duration_s * 1000, 3),
    }
    if request.version is not None:
        fields |= {"version": request.version, "role": str(request.role)}
    if request.attempts:
        fields |= {"replica": request.attempts[-1].replica, "attempts": len(request.attempts)}
    if request.request_id:
        fields["request_id"] = request.request_id
    if request.trace is not None:
        fields |= {"trace_id": f"{request.trace.trace_id:032x}", "span_id": f"{request.trace.server_id:016x}"}
    elif trace_id := trace_id_text(request.traceparent):
        fields["trace_id"] = trace_id
    return fields
