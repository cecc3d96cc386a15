"""Passive health: what the end of an attempt means for the replica that it was made at."""

from __future__ import annotations

import weakref

from services.core.errors import PenstockError
from services.triton.replicas.health import Reason
from services.triton.replicas.replica import WEIGHT, Pair, Replica
from services.triton.replicas.roster import Roster
from services.triton.replicas.rules import Rule, Scope

# A version of whose answers elsewhere more than this part are failures has a trouble that is not one replica's.
_FEW = 0.1


class Judge:
    """Counts failures against whom they belong to, and ejects.

    A failure that every replica has is the model's, the client's or the machine's, and ejecting for it would only move
    the load around: what can have such a cause counts only while another replica does better.

    Args:
        roster: Who there is.
    """

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._judged: weakref.WeakSet[PenstockError] = weakref.WeakSet()

    def failed(self, pair: Pair, rule: Rule, error: PenstockError, seconds: float, now: float) -> bool:
        """Note an attempt that failed after ``seconds``.

        Attempts that were merged into one exchange share one error, and count once.

        Returns:
            Whether it counted.
        """
        if error in self._judged:
            return False
        self._judged.add(error)
        if rule.scope is Scope.NOTHING:
            if not rule.silent:
                _heard(pair, now)  # an honest refusal: whoever refuses lives
        elif rule.scope is Scope.REPLICA:
            self._count(pair.replica, rule.reason, error, now, at_once=rule.at_once)
        elif rule.reason is Reason.TIMEOUT:
            self._late(pair, error, seconds, now)
        else:
            _heard(pair, now)
            pair.failing += (1.0 - pair.failing) * WEIGHT
            pair.trouble_since = pair.trouble_since or now
            if rule.at_once or _others_do_better(pair):
                self._count(pair, rule.reason, error, now, at_once=rule.at_once)
        return True

    def probe_failed(self, pair: Pair, rule: Rule, error: PenstockError, now: float) -> None:
        """Note a sample that failed although it has worked before."""
        if rule.scope is Scope.REPLICA:
            self._count(pair.replica, rule.reason, error, now, at_once=rule.at_once)
        elif rule.scope is Scope.VERSION:
            pair.trouble_since = pair.trouble_since or now
            if rule.at_once or _others_do_better(pair):
                self._count(pair, rule.reason, error, now, at_once=rule.at_once)

    def _late(self, pair: Pair, error: PenstockError, seconds: float, now: float) -> None:
        begun = now - seconds
        if seconds < pair.version.fair_s or pair.heard_at > begun:
            return  # the client was in a hurry, or others got their answers here
        if any(other.heard_at > begun for other in pair.version.pairs if other is not pair):
            self._count(pair, Reason.TIMEOUT, error, now)
        replica = pair.replica
        others = (other for other in self._roster.replicas.values() if other is not replica)
        if replica.heard_at <= begun and any(other.heard_at > begun for other in others):
            self._count(replica, Reason.TIMEOUT, error, now)

    def _count(
        self, at_fault: Replica | Pair, reason: Reason, error: PenstockError, now: float, *, at_once: bool = False
    ) -> None:
        if at_once:
            self._roster.eject(at_fault, reason, error.message)
        elif at_fault.health.failed(reason, now):
            self._roster.ejected(at_fault, error.message)


def _heard(pair: Pair, now: float) -> None:
    pair.replica.heard_at = pair.replica.waiting_since = pair.waiting_since = now


def _others_do_better(pair: Pair) -> bool:
    """Whether this version has answered well elsewhere since it began to fail here."""
    others = [other for other in pair.version.well if other is not pair]
    if not any(max(other.heard_at, other.proved_at) > pair.trouble_since for other in others):
        return False
    return sum(other.failing for other in others) / len(others) < _FEW
