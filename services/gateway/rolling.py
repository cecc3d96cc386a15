"""Workers replaced one after the other: all of them when somebody asks, and one whose counters have little room left.

A worker's slab only grows: every version that was ever served keeps its place in it. A worker whose models fill a new
slab at once is not replaced again and again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

FULL_FROM = 0.75
APART_S = 300.0
_LOOK_S = 1.0

_log = logging.getLogger(__name__)


class Replaceable(Protocol):
    """A worker's place; ``WorkerSlot`` is one."""

    @property
    def room_used(self) -> float:
        """The share of the room for counters that its present worker has used, from 0 to 1."""
        ...

    async def replace(self) -> None:
        """Put a successor in the present worker's place."""
        ...


class Rolling:
    """Replaces workers, never two at once.

    Args:
        slots: Their places.
        asked: Set by whoever wants all of them replaced.
        clock: Seconds, monotonic.
        look_s: Time between two looks at their room.
        apart_s: Least time between two replacements of one for its room.
    """

    def __init__(
        self,
        slots: Sequence[Replaceable],
        asked: asyncio.Event,
        *,
        clock: Callable[[], float] = time.monotonic,
        look_s: float = _LOOK_S,
        apart_s: float = APART_S,
    ) -> None:
        self._slots = slots
        self._asked = asked
        self._clock = clock
        self._look_s = look_s
        self._apart_s = apart_s
        self._renewed: dict[int, float] = {}  # when each was last replaced for its room
        self._told: set[int] = set()  # of these, who is full again and has to wait

    async def run(self) -> None:
        """Replace workers until cancelled."""
        while True:
            if await self._asked_within(self._look_s):
                self._asked.clear()
                for slot in self._slots:
                    await slot.replace()
            await self.look()

    async def look(self) -> None:
        """Replace the workers whose counters have little room left."""
        for number, slot in enumerate(self._slots):
            used = slot.room_used
            if used < FULL_FROM:
                continue
            if self._is_too_soon(number):
                self._complain(number, used)
                continue
            self._renewed[number] = self._clock()
            self._told.discard(number)
            words = "gateway worker %d has used %.0f %% of the room for its counters and is replaced"
            _log.info(words, number, 100 * used)
            await slot.replace()

    def _is_too_soon(self, number: int) -> bool:
        renewed = self._renewed.get(number)
        return renewed is not None and self._clock() - renewed < self._apart_s

    def _complain(self, number: int, used: float) -> None:
        if number in self._told:
            return
        self._told.add(number)
        _log.warning(
            "gateway worker %d was replaced less than %g s ago and has used %.0f %% of the room for its counters "
            "again; it is replaced %g s after the last time at the earliest, and rollouts of models without room wait: "
            "what this gateway serves is more than a worker can count; serve fewer models or versions with one gateway",
            number,
            self._apart_s,
            100 * used,
            self._apart_s,
        )

    async def _asked_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            return False
        return True
