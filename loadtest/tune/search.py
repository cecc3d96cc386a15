"""The search: a few configurations far apart, then uphill from the best. Decides, measures nothing."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from loadtest.tune.configuration import AXES, Configuration, Space

# A delay is for nothing without a preferred batch to wait for, and more instances want smaller batches.
_TOGETHER = (("preferred", "delay_us"), ("instances", "max_batch"))


@dataclass(frozen=True, slots=True)
class Found:
    """How a search ended.

    Attributes:
        best: The best configuration; None where none kept the SLO.
        rate: What it carries, in requests per second.
        trials: How many configurations were tried.
        exhausted: Whether the search ended for want of trials, and not because nothing near was better.
    """

    best: Configuration | None
    rate: float
    trials: int
    exhausted: bool


# Measures a configuration against the best rate so far, and returns what it carries: 0 where that is no more.
Measure = Callable[[Configuration, float], Awaitable[float]]


class _OutOfTrialsError(Exception):
    """Every trial is used up."""


class Search:
    """One search.

    Args:
        space: What to choose from.
        measure: Measures a configuration.
        trials: Most configurations that may be measured.
    """

    def __init__(self, space: Space, measure: Measure, trials: int) -> None:
        self._space, self._measure, self._trials = space, measure, trials
        self._known: dict[Configuration, float] = {}
        self._best: Configuration | None = None
        self._rate = 0.0

    async def run(self, start: Configuration) -> Found:
        """Search from a configuration of the space."""
        exhausted = False
        try:
            for configuration in self._coarse(start):
                await self._consider(configuration)
            while self._best is not None and (await self._climb(self._best) or await self._cross(self._best)):
                pass
        except _OutOfTrialsError:
            exhausted = True
        return Found(self._best, self._rate, len(self._known), exhausted)

    async def sweep(self) -> Found:
        """Measure every configuration, for comparison; the largest first, so that most are beaten in one window."""
        for configuration in reversed(self._space.all()):
            await self._consider(configuration)
        return Found(self._best, self._rate, len(self._known), exhausted=False)

    def _coarse(self, start: Configuration) -> list[Configuration]:
        """Return configurations far apart: how it is now, and few or many instances with small and large batches.

        Delay and preference stay as they are: they move the knee by little where batches and instances are wrong.
        """
        space = self._space
        calm = replace(start, delay_us=space.delay_us[0], preferred=space.preferred[0])
        corners = [
            replace(calm, instances=instances, max_batch=batch)
            for batch in (space.max_batch[-1], space.max_batch[len(space.max_batch) // 2], space.max_batch[0])
            for instances in (space.instances[-1], space.instances[0])
        ]
        most = max(2, self._trials // 2)  # half of the trials are for the climb
        return list(dict.fromkeys((start, *corners)))[:most]

    async def _climb(self, base: Configuration) -> bool:
        """Go along each axis from the best as long as that helps; return whether it did anywhere."""
        improved = False
        for axis in AXES:
            for direction in (1, -1):
                moved = False
                while (step := self._space.moved(self._best or base, axis, direction)) and await self._consider(step):
                    moved = improved = True
                if moved:
                    break  # the other direction is where it came from
        return improved

    async def _cross(self, base: Configuration) -> bool:
        """Try every combination of two axes that only help together, until one helps; return whether one did."""
        for pair in _TOGETHER:
            for values in itertools.product(*(getattr(self._space, axis) for axis in pair)):
                if await self._consider(replace(base, **dict(zip(pair, values, strict=True)))):
                    return True
        return False

    async def _consider(self, configuration: Configuration) -> bool:
        """Measure a configuration unless it is known, and return whether it is the new best."""
        if configuration in self._known:
            return False
        if len(self._known) >= self._trials:
            raise _OutOfTrialsError
        rate = await self._measure(configuration, self._rate)
        self._known[configuration] = rate
        if rate <= self._rate:
            return False
        self._best, self._rate = configuration, rate
        return True
