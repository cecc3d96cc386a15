"""Tells webhooks what happened: what the store keeps for them, at least once, by the controller that leads."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from services.controller.background import BackgroundOwner
from services.controller.election.leadership import Mandate, NotLeading
from services.controller.storage.store import Due, DueQuery, OutboxStore
from services.controller.webhooks.caller import WebhookCaller
from services.controller.webhooks.delivery import Delivery
from services.core.errors import Conflict, Unavailable

_LOG = logging.getLogger(__name__)
_MOST_AT_ONCE = 64
_MOST_AT_ONE_DESTINATION = 2
_LOOK_S = 5.0
_SHORTEST_PAUSE_S = 0.05


class Announcer(BackgroundOwner[tuple[str, str]]):
    """Sends what is due. Used as a context: what is under way is cancelled at its end, and sent again later.

    Each webhook of a rollout is told one change after the other. Between webhooks there is no order, and a destination
    that does not answer takes two of the calls that may be under way, so the others do not wait for it.

    Args:
        caller: Makes the calls.
        outbox: Where what is to be told is kept.
        mandate: Whether this process leads.
        clock: Wall clock, seconds since the epoch: what is put off must mean the same after a restart.
        look_s: Longest time between two looks, and the time after which a database that did not answer is asked again.

    Attributes:
        waiting: How many deliveries waited when it last looked; 0 where this process does not lead.
        given_up: How many were given up since the start.
    """

    def __init__(
        self,
        caller: WebhookCaller,
        outbox: OutboxStore,
        mandate: Mandate,
        clock: Callable[[], float],
        look_s: float = _LOOK_S,
    ) -> None:
        super().__init__(self._ended)
        self._caller, self._outbox, self._mandate, self._clock = caller, outbox, mandate, clock
        self._look_s = look_s
        self._wake = asyncio.Event()
        self._destinations: dict[tuple[str, str], str] = {}
        self.waiting = 0
        self.given_up = 0

    @property
    def under_way(self) -> int:
        """How many calls are under way."""
        return len(self._destinations)

    def wake(self) -> None:
        """Have the next look now: something was stored."""
        self._wake.set()

    def drop(self) -> None:
        """End what is under way: another controller may send it by now."""
        self._running.cancel_all()

    async def run(self) -> None:
        """Send what is due until cancelled."""
        while True:
            pause_s = await self.look()
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def look(self) -> float:
        """Begin to send what is due, and return after how many seconds to look again."""
        if not self._mandate.held:
            self.waiting = 0
            return self._look_s
        next_at = None
        try:
            # What destinations have no room for may hide what others have room for: then there is another round.
            while (room := _MOST_AT_ONCE - self.under_way) > 0:
                due = await self._due(room)
                next_at = due.next_at
                if self._begin(due) == len(due.deliveries):
                    break
        except (Unavailable, Conflict) as error:
            _LOG.warning("webhooks are told later: %s", error)
        if next_at is None:
            return self._look_s
        return min(self._look_s, max(_SHORTEST_PAUSE_S, next_at - self._clock()))

    async def _due(self, room: int) -> Due:
        calls = Counter(self._destinations.values())
        full = frozenset(each for each, count in calls.items() if count >= _MOST_AT_ONE_DESTINATION)
        due = await self._outbox.due(DueQuery(self._clock(), room, frozenset(self._destinations), full))
        self.waiting = due.waiting
        if due.given_up:
            self.given_up += due.given_up
            _LOG.warning("%d notices to webhooks are given up; explanations of their rollouts say why", due.given_up)
        return due

    def _begin(self, due: Due) -> int:
        """Begin what destinations have room for, and return how many that are."""
        begun = 0
        for delivery in due.deliveries:
            if list(self._destinations.values()).count(delivery.destination) < _MOST_AT_ONE_DESTINATION:
                self._destinations[delivery.line] = delivery.destination
                self._running.begin(delivery.line, self._send(delivery), f"delivery {delivery.id}")
                begun += 1
        return begun

    def _ended(self, line: tuple[str, str]) -> None:
        del self._destinations[line]
        self._wake.set()

    async def _send(self, delivery: Delivery) -> None:
        if not self._mandate.held:
            return
        problem = await self._call(delivery)
        if not problem:
            await self._store(delivery, self._outbox.delivered)
            return
        after = delivery.refused(problem, self._clock())
        if not await self._store(after, self._outbox.put_off):
            return
        if after.gave_up_at is None:
            _LOG.info("delivery %s is put off, attempt %d: %s", delivery.id, after.attempts, problem)
        else:
            self.given_up += 1
            _LOG.warning("delivery %s is given up, attempt %d: %s", delivery.id, after.attempts, problem)

    async def _call(self, delivery: Delivery) -> str:
        """Make the call, and return what is wrong with its answer; empty for a good one."""
        try:
            return (await self._caller.call(delivery.webhook, delivery.said)).words
        except Exception as defect:  # noqa: BLE001 - else it would be sent again without a pause
            _LOG.exception("delivery %s met a defect", delivery.id)
            return f"a defect of the controller ({type(defect).__name__}: {defect})"

    async def _store(self, delivery: Delivery, write: Callable[[Delivery], Awaitable[None]]) -> bool:
        """Store what came of an attempt, and return whether that was possible before the lead was lost.

        While the database does not answer its line waits: it would be told the same again and again.
        """
        while self._mandate.held:
            try:
                await write(delivery)
            except NotLeading:
                return False
            except (Unavailable, Conflict) as error:
                _LOG.warning("what came of delivery %s is not stored yet: %s", delivery.id, error)
                await asyncio.sleep(self._look_s)
            else:
                return True
        return False
