"""Workers are replaced one after the other: when somebody asks, and before their counters are full."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from services.gateway.rolling import Rolling
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import eventually, in_loop

APART_S = 300.0


class FakeSlot:
    """A worker's place.

    Attributes:
        room_used: What its present worker has used.
        fresh: What a new one has used.
        replaced: How often its worker was replaced.
    """

    changing = 0
    most_changing = 0

    def __init__(self, room_used: float = 0.1, fresh: float = 0.1) -> None:
        self.room_used = room_used
        self.fresh = fresh
        self.replaced = 0

    async def replace(self) -> None:
        FakeSlot.changing += 1
        FakeSlot.most_changing = max(FakeSlot.most_changing, FakeSlot.changing)
        await asyncio.sleep(0)
        FakeSlot.changing -= 1
        self.replaced += 1
        self.room_used = self.fresh


@asynccontextmanager
async def rolling(slots: Sequence[FakeSlot], asked: asyncio.Event) -> AsyncIterator[None]:
    FakeSlot.changing = FakeSlot.most_changing = 0
    task = asyncio.create_task(Rolling(slots, asked, clock=FakeClock(), look_s=0.001).run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@in_loop
async def test_workers_are_replaced_before_their_counters_are_full_and_others_are_not() -> None:
    slots = [FakeSlot(0.8), FakeSlot(0.7), FakeSlot(0.8)]
    async with rolling(slots, asyncio.Event()):
        await eventually(lambda: slots[0].replaced and slots[2].replaced)
    assert [slot.replaced for slot in slots] == [1, 0, 1]


@in_loop
async def test_never_two_are_replaced_at_once_also_when_somebody_asks_meanwhile() -> None:
    slots, asked = [FakeSlot(0.8), FakeSlot(0.8)], asyncio.Event()
    async with rolling(slots, asked):
        asked.set()
        await eventually(lambda: all(slot.replaced for slot in slots) and not asked.is_set())
        asked.set()
        await eventually(lambda: not asked.is_set())
        await eventually(lambda: min(slot.replaced for slot in slots) >= 2)
    assert FakeSlot.most_changing == 1


@in_loop
async def test_a_worker_whose_successor_is_full_at_once_is_replaced_no_more_than_every_few_minutes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    slot, clock = FakeSlot(0.8, fresh=0.9), FakeClock()
    each = Rolling([slot], asyncio.Event(), clock=clock, apart_s=APART_S)
    with caplog.at_level(logging.WARNING):
        for seconds in range(2 * int(APART_S) + 1):
            await each.look()
            assert slot.replaced == 1 + seconds // int(APART_S)
            clock.advance(1.0)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2, "once for each replacement that did not help"
    assert "more than a worker can count" in lines[0]
