"""Finds replicas, and versions on them, that have requests and say nothing. No I/O: somebody calls ``look``."""

from __future__ import annotations

from collections.abc import Callable

from services.triton.replicas.balance import silent
from services.triton.replicas.health import Reason
from services.triton.replicas.replica import Pair, Replica
from services.triton.replicas.roster import Roster
from services.triton.replicas.settings import ReplicaSettings

LOOK_EVERY_S = 0.1
# A look that comes this late means that this process was held up, and with it everything that it should have heard.
_LATE_S = 0.1
_PERIOD_S = 30.0
# Without traffic a latency is believed for so long, and then less with each look.
_STALE_S = 0.5
_FORGET = 0.1


class HangWatch:
    """Looks at silence.

    A frozen process holds its connections, so nothing but silence tells: no answer to any of its requests, nor to the
    question whether it lives, which is asked at half of the time. A model may be slow, so a single version is held to
    several times its own usual latency, and only where that is known.

    Args:
        roster: Who there is.
        settings: Bounds.
        ask: Begins to ask a replica whether it lives, unless that is under way; an answer counts as heard.
    """

    def __init__(self, roster: Roster, settings: ReplicaSettings, ask: Callable[[Replica], None]) -> None:
        self._roster = roster
        self._settings = settings
        self._ask = ask
        self._looked_at: float | None = None
        self._period_began = 0.0

    def look(self, now: float) -> float:
        """Look once and return by how many seconds this look was late."""
        late_s = 0.0 if self._looked_at is None else max(0.0, now - self._looked_at - LOOK_EVERY_S)
        self._looked_at = now
        if late_s > _LATE_S:
            self._excuse(late_s)
        for replica in list(self._roster.replicas.values()):
            self._roster.set_share(replica, now)
            if replica.in_flight:
                self._listen(replica, now)
        self._learn(now)
        return late_s

    def _listen(self, replica: Replica, now: float) -> None:
        silent_s = now - replica.waiting_since
        if silent_s >= self._settings.hang_after_s and self._others_live(replica, now, silent_s):
            words = f"{replica.in_flight} requests, silent for {silent_s:.2f} s"
            if not self._roster.eject(replica, Reason.HANG, words):
                self._roster.give_up(replica)
            return
        if silent_s >= self._settings.hang_after_s / 2:
            self._ask(replica)
        for pair in replica.pairs.values():
            if not pair.in_flight:
                continue
            silent_s = now - pair.waiting_since
            pair.latency_s = silent(pair.latency_s, silent_s)
            if silent_s >= pair.version.hang_s and _elsewhere(pair):
                self._roster.eject(pair, Reason.HANG, f"{pair.in_flight} requests, silent for {silent_s:.2f} s")

    def _others_live(self, replica: Replica, now: float, silent_s: float) -> bool:
        """Whether it is this one that is silent, not everything: a machine that stands still is nobody's fault."""
        others = [other for other in self._roster.replicas.values() if other is not replica and other.health.healthy]
        return any(not other.in_flight or now - other.waiting_since < silent_s / 2 for other in others)

    def _excuse(self, late_s: float) -> None:
        """Take time in which this process did not run out of every silence."""
        for replica in self._roster.replicas.values():
            replica.waiting_since += late_s
            for pair in replica.pairs.values():
                pair.waiting_since += late_s

    def _learn(self, now: float) -> None:
        """Bring the versions' times up to date, and let what is old fade."""
        ends = now - self._period_began >= _PERIOD_S
        if ends:
            self._period_began = now
        for version in self._roster.versions.values():
            version.bound(self._settings)
            if ends:
                version.latencies.begin_period()
            typical_s = version.typical_s
            version.least_s = typical_s / 2
            for pair in version.pairs:
                if not pair.in_flight and now - pair.heard_at > _STALE_S:
                    pair.latency_s += (typical_s - pair.latency_s) * _FORGET


def _elsewhere(pair: Pair) -> bool:
    return any(other is not pair for other in pair.version.well)
