"""One tuning: measures configurations on a live Triton, confirms the best, and draws its curve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from loadtest.tune.configuration import Configuration, Space
from loadtest.tune.goodput import Goodput, Window, find_goodput
from loadtest.tune.journal import Journal, Trial
from loadtest.tune.live_triton import LiveTriton
from loadtest.tune.offering import Offering
from loadtest.tune.search import Found, Search
from services.core.errors import Unavailable, UpstreamFailure

_WARM_UP_S = 1.0
_WARM_UP_CONNECTIONS = 8
# Of what the warm-up carries in a closed loop, so much is offered first; a hundredth is the least of interest.
_FIRST = 0.7
_FLOOR = 0.01
_CONFIRMED_LENGTH = 3.0
_STEP_DOWN = 0.95
_CONFIRMATIONS = 10
_ATTEMPTS = 2
_CURVE = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25)


class _TritonEnded(Unavailable):
    """The Triton that a configuration was loaded in is not the one that answers now."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What one configuration, named in words, does at rates around the best one's goodput."""

    name: str
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a tuning ended.

    Attributes:
        found: The search's end.
        confirmed: The best configuration's window at its goodput, longer than those of the search; None where no
            configuration keeps the SLO.
        curves: The best configuration and the present one.
    """

    found: Found
    confirmed: Window | None
    curves: tuple[Curve, ...]


class Tuning:
    """Tunes one model.

    Args:
        triton: Loads the configurations.
        config: The model's configuration as it is, in Triton's JSON.
        offering: Asks the model.
        journal: Remembers the trials.
        say: Tells a person what is under way.
    """

    def __init__(
        self,
        triton: LiveTriton,
        config: Mapping[str, Any],
        offering: Offering,
        journal: Journal,
        say: Callable[[str], None],
    ) -> None:
        self._triton, self._config, self._offering = triton, config, offering
        self._model = str(config["name"])
        self._journal, self._say = journal, say

    async def run(self, space: Space, start: Configuration, trials: int, *, exhaustive: bool) -> Outcome:
        """Search a space, or measure all of it.

        Args:
            space: What to choose from.
            start: How the model runs now.
            trials: Most configurations to measure.
            exhaustive: Whether to measure every one instead of searching.

        Raises:
            Unavailable: Triton is gone; what was measured is in the journal.
            UpstreamFailure: The best configuration does not load or answer any more.
        """
        search = Search(space, self._measure, len(space) if exhaustive else trials)
        found = await (search.sweep() if exhaustive else search.run(space.nearest(start)))
        if found.best is None:
            return Outcome(found, None, ())
        self._say(f"confirming: {found.best.text}")
        await self._load(found.best.over(self._config))
        await self._warm_up(found.best.max_batch)
        confirmed = await self._confirm(found.rate)
        curves = [await self._curve(found.best.text, confirmed.rate)]
        await self._require_same_triton()
        if start != found.best:
            await self._load(self._config)
            await self._warm_up(start.max_batch)
            curves.append(await self._curve(f"as it was: {start.text}", confirmed.rate))
            await self._require_same_triton()
        return Outcome(found, confirmed, tuple(curves))

    async def _measure(self, configuration: Configuration, to_beat: float) -> float:
        known = self._journal.find(configuration)
        if known is None:
            known = await self._trial(configuration, to_beat)
            self._journal.write(known)
        number = self._journal.trials.index(known) + 1
        self._say(f"trial {number}: {configuration.text}: {_said(known)}")
        return known.rate

    async def _trial(self, configuration: Configuration, to_beat: float) -> Trial:
        started, begun = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
        goodput: Goodput | None = None
        error, ended = "", 0
        while goodput is None and not error:
            try:
                goodput = await self._goodput(configuration, to_beat)
            except UpstreamFailure as failure:
                # What is not loaded or does not answer is no candidate, and no reason to end.
                error = failure.message
            except _TritonEnded:
                ended += 1
                self._say(f"Triton ended in the middle of {configuration.text}: not counted")
                await asyncio.to_thread(self._triton.wait_until_ready)
                if ended == _ATTEMPTS:
                    error = f"Triton ended in the middle of it, {ended} times of {ended}"
        seconds = round(time.perf_counter() - begun, 3)
        return Trial(configuration, to_beat, goodput, error, started, seconds, ended)

    async def _goodput(self, configuration: Configuration, to_beat: float) -> Goodput:
        """Return what a configuration carries on a Triton that lives from its load to the end."""
        await self._load(configuration.over(self._config))
        try:
            carried = await self._warm_up(configuration.max_batch)
            goodput = await find_goodput(self._offering.offer, _FIRST * carried, _FLOOR * carried, to_beat)
        except UpstreamFailure:
            await self._require_same_triton()
            raise
        await self._require_same_triton()
        return goodput

    async def _load(self, config: Mapping[str, Any]) -> None:
        await self._offering.settle()  # what waits for the configuration before would slow this one's warm-up down
        await asyncio.to_thread(self._triton.load, self._model, config)

    async def _warm_up(self, max_batch: int) -> float:
        """Return what is carried, in requests/s, with more in flight than fit in a batch."""
        return await self._offering.warm_up(max(_WARM_UP_CONNECTIONS, 2 * max_batch), _WARM_UP_S)

    async def _require_same_triton(self) -> None:
        if not await asyncio.to_thread(self._triton.still_has, self._model):
            raise _TritonEnded(
                "Triton ended in the middle of a measurement; see its log. The trials are on record: ask again, and "
                "it goes on there"
            )

    async def _confirm(self, rate: float) -> Window:
        """Return a longer window that keeps the SLO, at the rate that was found or a little below it."""
        window = await self._offering.offer(rate, _CONFIRMED_LENGTH)
        for _ in range(_CONFIRMATIONS):
            if window.met:
                break
            window = await self._offering.offer(window.rate * _STEP_DOWN, _CONFIRMED_LENGTH)
        return window

    async def _curve(self, name: str, rate: float) -> Curve:
        windows = [await self._offering.offer(share * rate) for share in _CURVE]
        return Curve(name, tuple(windows))


def _said(trial: Trial) -> str:
    if trial.goodput is None:
        return f"not measured ({trial.error})"
    if trial.goodput.beaten:
        return f"no better than {trial.to_beat:,.0f}/s"
    why = f" ({trial.goodput.limited_by})" if trial.goodput.limited_by else ""
    return f"{trial.goodput.rate:,.0f}/s within the SLO{why}"
