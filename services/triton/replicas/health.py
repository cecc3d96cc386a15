"""Whether a replica, or one version on it, gets traffic. Pure: time is a parameter, in seconds.

    healthy --failures in a row, or one without doubt--> ejected --after a while, when a probe succeeds--> healthy

The while doubles each time that it is soon ejected again, but not for what harms no request: where nobody listens, or
it says itself that it cannot, an attempt ends at once and another replica takes it. So a replica that was restarted
ever so often is back with the first probe that succeeds. How long an outage lasts does not count.
"""

from __future__ import annotations

from enum import StrEnum

_MAX_DOUBLINGS = 16


class Reason(StrEnum):
    """Why something is ejected: the ``reason`` of metrics and logs."""

    NEW = "new"  # not looked at yet
    CONNECT = "connect"  # nobody listens, or no connection in time
    BROKEN = "broken"  # connections end without an answer
    TIMEOUT = "timeout"
    HANG = "hang"  # requests in flight and not a word
    NOT_READY = "not_ready"  # it says so itself
    NOT_LOADED = "not_loaded"
    INTERNAL = "internal"  # the model fails here, and not elsewhere
    NONSENSE = "nonsense"  # answers that contradict themselves
    UNAVAILABLE = "unavailable"  # it refuses, in other words
    LEFT = "left"  # it is not on the list any more


_HARMLESS = frozenset({Reason.CONNECT, Reason.NOT_READY, Reason.NOT_LOADED})


class Health:
    """Counts failures and remembers ejections.

    Args:
        eject_after: Failures in a row that eject.
        ejection_s: Least time of a first ejection.
        max_ejection_s: Least time of any.
        forgive_after_s: Good health after which earlier ejections are forgotten.
    """

    __slots__ = (
        "_earliest",
        "_eject_after",
        "_ejection_s",
        "_forgive_after_s",
        "_max_s",
        "_since",
        "failures",
        "healthy",
        "offences",
        "reason",
        "until",
    )

    def __init__(self, eject_after: int, ejection_s: float, max_ejection_s: float, forgive_after_s: float) -> None:
        self._eject_after = eject_after
        self._ejection_s = ejection_s
        self._max_s = max_ejection_s
        self._forgive_after_s = forgive_after_s
        self._since = self._earliest = 0.0
        self.healthy = True
        self.reason: Reason | None = None
        self.failures = 0
        self.offences = 0
        self.until = 0.0

    def failed(self, reason: Reason, now: float) -> bool:
        """Count a failure and return whether it ejects."""
        self.failures += 1
        return self.failures >= self._eject_after and self.eject(reason, now)

    def eject(self, reason: Reason, now: float) -> bool:
        """Take it out of service; False if it is already."""
        if not self.healthy:
            return False
        if now - self._since >= self._forgive_after_s:
            self.offences = 0
        self.healthy = False
        self.reason = reason
        self.until = self._earliest = now + min(self._max_s, self._ejection_s)
        if reason not in _HARMLESS:
            self.offences += 1
            self.until = now + min(self._max_s, self._ejection_s * 2.0 ** min(self.offences - 1, _MAX_DOUBLINGS))
        return True

    def await_probe(self) -> None:
        """Take it out of service until a first probe, which is no offence."""
        self.healthy = False
        self.reason = Reason.NEW
        self.until = self._earliest = 0.0

    def due(self, now: float, *, needed: bool = False) -> bool:
        """Whether it is ejected and may be probed; one that is needed has waited enough after the time of a first."""
        return not self.healthy and now >= (self._earliest if needed else self.until)

    def readmit(self, now: float, *, on_trial: bool = False) -> None:
        """Put it back into service; on trial, the next failure ejects it again."""
        self.healthy = True
        self.reason = None
        self.failures = self._eject_after - 1 if on_trial else 0
        self._since = now
