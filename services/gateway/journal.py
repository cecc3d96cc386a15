"""What is told of single requests, beside their counts: the spans of a sampled one, the line of one that needs it.

Everything is told after the end of a request, from the times and facts noted on its way: a request that is neither
sampled nor notable costs one comparison.
"""

from __future__ import annotations

import math
from typing import Protocol

from services.gateway.request_log import FAULTS, RequestLog
from services.gateway.tracing.context import RequestTrace, Sampler
from services.gateway.tracing.ended import Ended


class Spans(Protocol):
    """Takes sampled requests that ended. Adapter: ``SpanExport``."""

    def offer(self, request: Ended, trace: RequestTrace) -> None:
        """Take one; never waits."""
        ...


class Journal:
    """Tells of requests.

    Args:
        log: Their lines; None for none.
        sampler: Decides which are traced; None for none.
        spans: Takes those that are.
    """

    __slots__ = ("_log", "_sampler", "_spans", "from_s")

    def __init__(
        self, log: RequestLog | None = None, sampler: Sampler | None = None, spans: Spans | None = None
    ) -> None:
        self._log = log
        self._sampler = sampler if spans is not None else None
        self._spans = spans
        self.from_s = math.inf if log is None else log.from_s

    def begin(self, traceparent: str, tracestate: str = "") -> RequestTrace | None:
        """Return the place in its trace of a request that is sampled, None for any other."""
        return None if self._sampler is None else self._sampler.begin(traceparent, tracestate)

    def wants(self, outcome: str, duration_s: float) -> bool:
        """Whether a request that is not sampled may have a line."""
        return duration_s >= self.from_s or outcome in FAULTS

    def ended(self, request: Ended) -> None:
        """Tell of a request that is wanted or sampled."""
        if self._log is not None:
            self._log.ended(request)
        if request.trace is not None and self._spans is not None:
            self._spans.offer(request, request.trace)
