"""The gates as metrics: gauges from their states, and a count for each refusal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from services.gateway.admission.state import GateState, Refusal, RefusalHook
from services.gateway.metrics.recorder import Recorder
from services.gateway.metrics.series import ADMITTED, LIMIT, QUEUED, REFUSALS
from services.gateway.metrics.vitals import Reading


def readings(states: Iterable[GateState]) -> Iterator[Reading]:
    """Yield limit, requests in flight and requests waiting of each version."""
    for state in states:
        labels = (state.model, str(state.version))
        yield LIMIT, labels, state.limit
        yield ADMITTED, labels, state.in_flight
        yield QUEUED, labels, state.queued


def counting(recorder: Recorder) -> RefusalHook:
    """Return a hook that counts refusals by reason."""

    def count(model: str, version: int, reason: Refusal) -> None:
        recorder.add(REFUSALS, model, str(version), reason)

    return count
