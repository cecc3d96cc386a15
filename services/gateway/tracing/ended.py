"""What is known of a request when it has ended: what its spans and its log line are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from services.core.inference import Attempt
from services.gateway.tracing.context import RequestTrace


class Ended(NamedTuple):
    """One request that ended.

    Attributes:
        protocol: ``rest`` or ``grpc``.
        model: The model that was asked for.
        version: The version that was chosen; None when it did not come to that.
        role: What part the version played; empty where there is none.
        outcome: As in ``penstock_requests_total``.
        request_id: The client's id; empty for none.
        marks: The time of arrival and then the ends of the completed stages, in the order of ``series.STAGES``; seconds
            of ``time.perf_counter``.
        ended: When it ended, on the same clock.
        attempts: Its attempts at Triton.
        trace: Its place in a trace; None when it is not sampled.
        traceparent: The caller's, sampled or not, as it came; empty for none.
        error: Words for a failure; empty for none.
    """

    protocol: str
    model: str
    version: int | None
    role: str
    outcome: str
    request_id: str
    marks: Sequence[float]
    ended: float
    attempts: Sequence[Attempt]
    trace: RequestTrace | None
    traceparent: str
    error: str

    @property
    def duration_s(self) -> float:
        """Time from its arrival to its end."""
        return self.ended - self.marks[0]
