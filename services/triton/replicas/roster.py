"""All replicas and versions of one worker, and who of them gets traffic."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from services.core.replica_address import ReplicaAddress
from services.triton.faults import GivenUp
from services.triton.replicas.events import ReplicaEvents, ReplicaState
from services.triton.replicas.health import Reason
from services.triton.replicas.replica import Pair, Replica, Version, VersionKey
from services.triton.replicas.settings import ReplicaSettings

Lingering = Callable[[str, int, int], None]

_log = logging.getLogger(__name__)


class Roster:
    """The one place where something is added, ejected, readmitted or taken away.

    Args:
        settings: Bounds.
        events: Told of ejections and readmissions.
        connect: Makes a replica of its address; nothing is sent yet.
        clock: Seconds, monotonic.

    Attributes:
        replicas: Those on the list, by name.
        leaving: Those that left it and still have requests, or sequences.
        versions: Versions that were asked for or routed.
        lingering: Told by model and version how many requests more (or fewer) a Triton works on although nobody waits
            for them.
    """

    def __init__(
        self,
        settings: ReplicaSettings,
        events: ReplicaEvents,
        connect: Callable[[ReplicaAddress], Replica],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._events = events
        self._connect = connect
        self._clock = clock
        self.replicas: dict[str, Replica] = {}
        self.leaving: dict[str, Replica] = {}
        self.versions: dict[VersionKey, Version] = {}
        self.lingering: Lingering = lambda _model, _version, _change: None

    def version(self, key: VersionKey) -> Version:
        """Return a version, which is on every replica as far as anybody knows."""
        found = self.versions.get(key)
        if found is None:
            found = self.versions[key] = Version(*key, self._settings, self._clock())
            for replica in self.replicas.values():
                self._join(replica, found)
            found.refresh()
        return found

    def drop(self, version: Version) -> None:
        """Forget a version that nobody asks for; attempts under way end as they would."""
        self.versions.pop(version.key, None)
        for replica in (*self.replicas.values(), *self.leaving.values()):
            replica.pairs.pop(version.key, None)

    def retarget(self, addresses: Iterable[ReplicaAddress], *, trusted: bool) -> None:
        """Follow the list: who is new joins, who is not on it any more leaves.

        Args:
            addresses: Everybody on it.
            trusted: Whether new ones get traffic before a first look at them, as at the start.
        """
        wanted = {address.name: address for address in addresses}
        for name, replica in list(self.replicas.items()):
            if wanted.get(name) != replica.address:
                _log.info("replica %s left; it finishes what it has", name)
                self.leaving[name] = self.replicas.pop(name)
                replica.leaving_since = self._clock()
                replica.close_idle()
                self._events.ejected(name, None, None, Reason.LEFT)
        for name, address in wanted.items():
            if name not in self.replicas:
                self.replicas[name] = self._joined(address, trusted=trusted)
        for version in self.versions.values():
            version.pairs = [self._join(replica, version) for replica in self.replicas.values()]
            version.refresh()

    def eject(self, at_fault: Replica | Pair, reason: Reason, detail: str = "") -> bool:
        """Send no more traffic to a replica or to a version on it; False if none was sent before."""
        if not at_fault.health.eject(reason, self._clock()):
            return False
        self.ejected(at_fault, detail)
        return True

    def ejected(self, at_fault: Replica | Pair, detail: str = "") -> None:
        """Follow an ejection that the health decided itself."""
        name, model, version = _labels(at_fault)
        reason = at_fault.health.reason or Reason.NEW
        _log.warning(
            "replica %s%s ejected: %s%s", name, _words(model, version), reason, f" ({detail})" if detail else ""
        )
        self._refresh(at_fault)
        self._events.ejected(name, model, version, reason)
        if reason in (Reason.HANG, Reason.TIMEOUT):
            self.give_up(at_fault)
        if isinstance(at_fault, Replica):
            at_fault.close_idle()

    def give_up(self, silent: Replica | Pair) -> None:
        """End first attempts at somebody who is silent at once, where another replica can take them."""
        for pair in silent.pairs.values() if isinstance(silent, Replica) else (silent,):
            if pair.in_flight and any(other.replica is not pair.replica for other in pair.version.well):
                name = pair.replica.name
                pair.replica.give_up(pair, GivenUp(f"{name} has requests and has said nothing for too long"))

    def readmit(self, ejected: Replica | Pair, *, on_trial: bool = False) -> None:
        """Send traffic again: a replica starts slowly."""
        now = self._clock()
        ejected.health.readmit(now, on_trial=on_trial)
        for pair in ejected.pairs.values() if isinstance(ejected, Replica) else (ejected,):
            pair.latency_s = pair.version.typical_s
        if isinstance(ejected, Replica):
            ejected.misses = 0
            ejected.started_at = now
            self.set_share(ejected, now)
        name, model, version = _labels(ejected)
        _log.info("replica %s%s is back", name, _words(model, version))
        self._refresh(ejected)
        self._events.readmitted(name, model, version)

    def set_share(self, replica: Replica, now: float) -> None:
        """Work out how far a slow start has come."""
        if replica.started_at is None:
            return
        slow_start_s = self._settings.slow_start_s
        done = (now - replica.started_at) / slow_start_s if slow_start_s else 1.0
        replica.share = min(1.0, _FIRST_SHARE + (1.0 - _FIRST_SHARE) * done)
        if replica.share >= 1.0:
            replica.started_at = None
        for pair in replica.pairs.values():
            pair.share = replica.share

    def is_panic(self, version: Version) -> bool:
        """Whether so few are well that the others must be tried too."""
        return len(version.well) < self._settings.panic_share * len(version.pairs)

    def few_are_well(self) -> bool:
        """Whether so many replicas are ejected that one that answers again cannot be kept waiting."""
        well = sum(replica.health.healthy for replica in self.replicas.values())
        return well < self._settings.panic_share * len(self.replicas)

    def states(self) -> list[ReplicaState]:
        """Return how every replica is doing."""
        return [_state(replica) for replica in (*self.replicas.values(), *self.leaving.values())]

    def _joined(self, address: ReplicaAddress, *, trusted: bool) -> Replica:
        replica = self.leaving.get(address.name)
        if replica is not None and replica.address == address:
            del self.leaving[address.name]
            replica.leaving_since = None
            self._events.readmitted(replica.name, None, None)
            return replica
        replica = self._connect(address)
        if not trusted:
            replica.health.await_probe()
        return replica

    def _join(self, replica: Replica, version: Version) -> Pair:
        pair = replica.pairs.get(version.key)
        if pair is None or pair.version is not version:
            pair = replica.pairs[version.key] = Pair(
                replica, version, self._settings, lambda change: self.lingering(*version.key, change)
            )
        if pair not in version.pairs:
            version.pairs.append(pair)
        return pair

    def _refresh(self, changed: Replica | Pair) -> None:
        if isinstance(changed, Pair):
            changed.version.refresh()
        else:
            for pair in changed.pairs.values():
                pair.version.refresh()


_FIRST_SHARE = 0.1


def _labels(subject: Replica | Pair) -> tuple[str, str | None, int | None]:
    if isinstance(subject, Replica):
        return subject.name, None, None
    return subject.replica.name, subject.version.model, subject.version.version


def _words(model: str | None, version: int | None) -> str:
    return "" if model is None else f", model '{model}' version {version}"


def _state(replica: Replica) -> ReplicaState:
    away = tuple(
        (pair.version.model, pair.version.version, str(pair.health.reason))
        for pair in replica.pairs.values()
        if not pair.health.healthy
    )
    leaving = replica.leaving_since is not None
    reason = str(Reason.LEFT) if leaving else str(replica.health.reason or "")
    healthy = replica.health.healthy and not leaving
    return ReplicaState(replica.name, healthy, reason, replica.in_flight, replica.share, away)
