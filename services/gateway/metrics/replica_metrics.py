"""What the replicas of Triton do, as counts: the ``ReplicaEvents`` of a gateway worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from services.gateway.metrics.recorder import Recorder
from services.gateway.metrics.series import (
    ATTEMPTS,
    EJECTIONS,
    HEALTHY,
    READMISSIONS,
    REPLICA_IN_FLIGHT,
    SECOND_ATTEMPTS,
)
from services.gateway.metrics.vitals import Reading
from services.triton.replicas.events import ReplicaState


class ReplicaMetrics:
    """Counts attempts, second attempts, ejections and readmissions.

    Args:
        recorder: Where to.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def attempt(self, replica: str, model: str, version: int, outcome: str) -> None:
        """Count an attempt that ended; the stages have its time."""
        self._recorder.add(ATTEMPTS, replica, model, str(version), outcome)

    def again(self, replica: str, model: str, version: int, kind: str) -> None:
        """Count a second attempt, or one that the budget refused."""
        self._recorder.add(SECOND_ATTEMPTS, replica, model, str(version), kind)

    def ejected(self, replica: str, model: str | None, version: int | None, reason: str) -> None:
        """Count an ejection of a replica, or of one version on it."""
        self._recorder.add(EJECTIONS, replica, *_version(model, version), reason)

    def readmitted(self, replica: str, model: str | None, version: int | None) -> None:
        """Count a readmission."""
        self._recorder.add(READMISSIONS, replica, *_version(model, version))


def replica_readings(states: Iterable[ReplicaState]) -> Iterator[Reading]:
    """Give the gauges of replicas."""
    for state in states:
        yield HEALTHY, (state.replica,), int(state.healthy)
        yield REPLICA_IN_FLIGHT, (state.replica,), state.in_flight


def _version(model: str | None, version: int | None) -> tuple[str, str]:
    return model or "", "" if version is None else str(version)
