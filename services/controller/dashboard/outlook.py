"""When the present step of a rollout will have a verdict, worked out from time to time for all who look on."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from services.core.forecast import duration, forecast
from services.core.rollout import Rollout

# A forecast takes some tenths of a second of CPU, and says about the same a moment later.
_FRESH_S = 10.0
_KEPT = 32


@dataclass(frozen=True, slots=True)
class _Kept:
    step_entered_at: float
    made_at: float
    text: str


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
        now, kept = self._clock(), self._kept.get(rollout.id)
        if kept is None or kept.step_entered_at != rollout.step_entered_at or now - kept.made_at >= _FRESH_S:
            text = await asyncio.to_thread(_words, rollout, now)
            kept = self._kept[rollout.id] = _Kept(rollout.step_entered_at, now, text)
        self._kept.move_to_end(rollout.id)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return kept.text


def _words(rollout: Rollout, now: float) -> str:
    elapsed_s = now - rollout.step_entered_at
    coming = forecast(rollout.terms, rollout.evidence.seen, elapsed_s)
    if coming is None:
        if rollout.spec.experiment is not None and not any(
            totals.count for totals in rollout.evidence.outcomes.values()
        ):
            return "No outcome was fed back yet, and without outcomes there is no verdict."
        return "Traffic as it is will not lead to a verdict."
    if coming.seconds > 0:
        return f"Needs {coming.missing} at this rate: then the verdict is {coming.outcome.value}."
    left_s = rollout.current_step.duration_s - elapsed_s
    if left_s > 0:
        return f"The evidence is enough to {coming.outcome.value}; the shortest time is over in {duration(left_s)}."
    return ""
