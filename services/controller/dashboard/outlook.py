"""When the present step of a rollout will have a verdict, worked out from time to time for all who look on."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from services.controller.dashboard import words
from services.core.analysis.assessment import compared_tallies
from services.core.rollouts.forecast import Forecast, duration, forecast
from services.core.rollouts.rollout import Phase, Rollout

# A forecast takes some tenths of a second of CPU, and says about the same a moment later.
_FRESH_S = 10.0
_KEPT = 32


@dataclass(frozen=True, slots=True)
class _Kept:
    evidence_since: float
    made_at: float
    coming: Forecast | None


class Outlook:
    """Forecasts in words.

    Args:
        clock: Wall clock, seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def of(self, rollout: Rollout) -> str:
        """Return what a rollout still needs, in a sentence; empty where no step is under way."""
        if not rollout.phase.weighted:
            return ""
        silent = _silent(rollout)
        if silent:
            return f"No outcome of {words.versions(silent)} was fed back yet, and without outcomes there is no verdict."
        if not all(tally.requests for tally in compared_tallies(rollout.terms, rollout.evidence.seen)):
            return "Nothing to compare was answered in this step yet."
        now, kept = self._clock(), self._kept.get(rollout.id)
        if kept is None or kept.evidence_since != rollout.evidence_since or now - kept.made_at >= _FRESH_S:
            elapsed_s = now - rollout.evidence_since
            coming = await asyncio.to_thread(forecast, rollout.terms, rollout.evidence.seen, elapsed_s)
            kept = self._kept[rollout.id] = _Kept(rollout.evidence_since, now, coming)
        self._kept.move_to_end(rollout.id)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return _words(rollout, kept.coming, now)


def _silent(rollout: Rollout) -> list[int]:
    """Return the versions of an A/B test of whose answers nobody told anything."""
    if rollout.spec.experiment is None:
        return []
    outcomes = rollout.evidence.outcomes
    return [
        version
        for version in (rollout.stable, *rollout.challengers)
        if version not in outcomes or not outcomes[version].count
    ]


def _words(rollout: Rollout, coming: Forecast | None, now: float) -> str:
    if coming is None:
        return "Traffic as it is will not lead to a verdict."
    if coming.seconds > 0:
        return f"Needs {coming.missing} at this rate: then the verdict is {coming.outcome.value}."
    if rollout.phase is Phase.PAUSED:
        return f"The evidence is enough to {coming.outcome.value}, which counts when somebody resumes."
    left_s = rollout.current_step.duration_s - (now - rollout.step_entered_at)
    if left_s > 0:
        return f"The evidence is enough to {coming.outcome.value}; the shortest time is over in {duration(left_s)}."
    return ""
