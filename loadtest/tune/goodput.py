"""How many requests per second a configuration carries within the SLO: found by offering more and less."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

GROWTH = 1.6
RESOLUTION = 1.05
# A configuration that does not carry this much more than the best one is not looked at further.
WORTH = 1.03
# So near a miss may be the machine's fault, and is tried once more.
_NEAR = 3.0


@dataclass(frozen=True, slots=True)
class Window:
    """What one rate gave.

    Attributes:
        rate: Offered requests per second.
        offered: Requests of the window.
        slow: Of these, later than the bound or never answered.
        tolerated: How many may be.
        quantile_s: The SLO's quantile; infinite where it lies among the unanswered.
        stopped: Whether it was given up before its end because it was lost.
        incapable: Why the load generator could not offer this rate; empty when it could.
    """

    rate: float
    offered: int
    slow: int
    tolerated: int
    quantile_s: float
    stopped: bool = False
    incapable: str = ""

    @property
    def met(self) -> bool:
        """Whether the SLO was kept."""
        return not self.stopped and not self.incapable and self.offered > 0 and self.slow <= self.tolerated


@dataclass(frozen=True, slots=True)
class Goodput:
    """What a configuration carries.

    Attributes:
        rate: The highest rate at which it kept the SLO; 0 where it kept it at none.
        beaten: Whether it was given up early, as no better than what it had to beat.
        windows: Every rate that was tried, in order.
        limited_by: Why no higher rate could be offered; empty when the SLO is the limit.
    """

    rate: float
    beaten: bool
    windows: tuple[Window, ...]
    limited_by: str = ""


Offer = Callable[[float], Awaitable[Window]]


class _Ladder:
    """Offers rates and remembers all windows."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self.windows: list[Window] = []

    async def holds(self, rate: float) -> bool:
        """Return whether the SLO is kept at a rate; a near miss is tried once more."""
        window = await self._try(rate)
        if window.met or window.incapable or window.slow > _NEAR * max(1, window.tolerated):
            return window.met
        return (await self._try(rate)).met

    async def _try(self, rate: float) -> Window:
        window = await self._offer(rate)
        self.windows.append(window)
        return window

    @property
    def incapable(self) -> str:
        """Why the last rate could not be offered."""
        return self.windows[-1].incapable if self.windows else ""


async def find_goodput(offer: Offer, start: float, floor: float, to_beat: float = 0.0) -> Goodput:
    """Return what a configuration carries, to within ``RESOLUTION``.

    Args:
        offer: Offers a rate and returns what it gave.
        start: The rate to begin with.
        floor: The lowest rate that is of interest.
        to_beat: What the best configuration so far carries; one that does not carry ``WORTH`` as much ends after one
            window.
    """
    ladder = _Ladder(offer)
    if to_beat > 0:
        low = to_beat * WORTH
        if not await ladder.holds(low):
            return Goodput(0.0, True, tuple(ladder.windows), ladder.incapable)
    else:
        low = max(start, floor)
        while not await ladder.holds(low):
            if ladder.incapable or low <= floor:
                return Goodput(0.0, False, tuple(ladder.windows), ladder.incapable)
            low = max(floor, low / GROWTH**2)
    high = math.inf
    while high / low > RESOLUTION:
        rate = low * GROWTH if high == math.inf else math.sqrt(low * high)
        if await ladder.holds(rate):
            low = rate
        elif ladder.incapable and high == math.inf:
            return Goodput(low, False, tuple(ladder.windows), ladder.incapable)
        else:
            high = rate
    return Goodput(low, False, tuple(ladder.windows))
