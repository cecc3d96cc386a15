"""What the controller can tell of a rollout beyond its state: why, how much longer, and how long before it starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from services.controller.eligibility import Eligibility
from services.controller.gateways.fleet import Fleet
from services.controller.storage.store import Store
from services.controller.webhooks.delivery import undelivered_words
from services.core.rollouts.explanation import explain_rollout
from services.core.rollouts.forecast import Forecast, forecast
from services.core.rollouts.rollout import Rollout
from services.core.rollouts.rollout_spec import RolloutSpec
from services.core.rollouts.thin_traffic import TrafficPlan, planned
from services.core.route import Role


class Insight:
    """Explanations, forecasts and plans. They take some tenths of a second of CPU, so they are made in a thread.

    Args:
        eligibility: Says which rollouts can be done at all.
        store: The rollouts and their history.
        fleet: What the gateways answered lately.
        clock: Wall clock, seconds since the epoch.
        waiting: Says what a rollout waits for beside its evidence.
    """

    def __init__(
        self,
        *,
        eligibility: Eligibility,
        store: Store,
        fleet: Fleet,
        clock: Callable[[], float],
        waiting: Callable[[Rollout], Sequence[str]],
    ) -> None:
        self._eligibility, self._store, self._fleet, self._clock = eligibility, store, fleet, clock
        self._waiting = waiting

    async def explain(self, rollout_id: str) -> tuple[list[str], Forecast | None]:
        """Return a rollout in plain words, line by line, and when its present step will have a verdict.

        Raises:
            NotFound: There is no such rollout.
            Unavailable: The database does not answer.
        """
        rollout = await self._store.get(rollout_id)
        history = await self._store.history(rollout_id)
        now = self._clock()
        coming = await asyncio.to_thread(_forecast, rollout, now)
        waits = [f"Waits for {what}." for what in self._waiting(rollout)]
        untold = undelivered_words(await self._store.undelivered(rollout_id), now)
        notices = ["", "Webhooks that were not told:", *untold] if untold else []
        return [*waits, *explain_rollout(rollout, history, coming, now), *notices], coming

    async def plan(self, spec: RolloutSpec) -> TrafficPlan:
        """Return how long each step will take at the traffic of the last minute.

        Raises:
            NotFound, InvalidRequest: It could not be started at all; as in ``Eligibility.stable_for``.
        """
        stable = self._eligibility.stable_for(spec, await self._eligibility.published(spec.model))
        seen, seconds = self._fleet.recent.answered(spec.model, stable, Role.STABLE)
        return await asyncio.to_thread(planned, spec, seen, seconds)


def _forecast(rollout: Rollout, now: float) -> Forecast | None:
    if not rollout.phase.weighted:
        return None
    return forecast(rollout.terms, rollout.evidence.seen, now - rollout.evidence_since)
