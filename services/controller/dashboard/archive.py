"""What pages need of the store, read once for all who look on: nothing here grows with the number of readers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from services.controller.events.watch import Watch
from services.controller.ledger import Ledger
from services.controller.operations import Operations
from services.core.rollouts.history import HistoryEntry
from services.core.rollouts.rollout import Rollout

_LISTED = 50
_KEPT = 32
_FRESH_S = 10.0


@dataclass(frozen=True, slots=True)
class _Listed:
    turnover: int
    read_at: float
    rollouts: list[Rollout]


class Archive:
    """Rollouts and their history.

    Args:
        operations: Reads the store.
        ledger: The rollouts that are not over, in memory.
        watch: Tells when one began or ended.
        clock: Wall clock, seconds since the epoch.
    """

    def __init__(self, operations: Operations, ledger: Ledger, watch: Watch, clock: Callable[[], float]) -> None:
        self._operations = operations
        self._ledger = ledger
        self._watch = watch
        self._clock = clock
        self._histories: OrderedDict[str, tuple[Hashable, list[HistoryEntry]]] = OrderedDict()
        self._lists: OrderedDict[str | None, _Listed] = OrderedDict()

    async def rollout(self, rollout_id: str) -> Rollout:
        """Return one rollout; errors as in ``Operations.get``."""
        for rollout in self._ledger.active.values():
            if rollout.id == rollout_id:
                return rollout
        return await self._operations.get(rollout_id)

    async def history(self, rollout: Rollout) -> list[HistoryEntry]:
        """Return a rollout's history, read again only after a change of phase or step; errors as in ``Operations``."""
        stamp = (rollout.phase, rollout.step, rollout.phase_entered_at, rollout.step_entered_at)
        kept = self._histories.get(rollout.id)
        if kept is None or kept[0] != stamp:
            kept = self._histories[rollout.id] = (stamp, await self._operations.history(rollout.id))
        self._histories.move_to_end(rollout.id)
        while len(self._histories) > _KEPT:
            self._histories.popitem(last=False)
        return kept[1]

    async def latest(self, model: str | None = None) -> list[Rollout]:
        """Return the latest rollouts, of one model or of all, those under way as they are now.

        Read again when a rollout began or ended, and from time to time; errors as in ``Operations.find``.
        """
        now, kept = self._clock(), self._lists.get(model)
        if kept is None or kept.turnover != self._watch.turnover or now - kept.read_at > _FRESH_S:
            turnover = self._watch.turnover
            found = await self._operations.find(model, active=False, limit=_LISTED)
            kept = self._lists[model] = _Listed(turnover, now, found)
        self._lists.move_to_end(model)
        while len(self._lists) > _KEPT:
            self._lists.popitem(last=False)
        active = {each.id: each for each in self._ledger.active.values() if model in (None, each.model)}
        known = {rollout.id for rollout in kept.rollouts}
        newer = [rollout for rollout in active.values() if rollout.id not in known]
        return newer + [active.get(rollout.id, rollout) for rollout in kept.rollouts]
