"""A worker's place: whoever leaves it has a successor that listens already."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.gateway.slot import WorkerSlot
from services.process.backoff import Backoff
from services.process.child import ChildProcess
from services.process.supervised import Supervised
from tests.fakes.gateway import eventually, in_loop

_SLEEPER = "import time; time.sleep(60)"
_BROKEN = "raise SystemExit(3)"


class FakeWorker:
    """A process whose states the test sets."""

    def __init__(self, program: str = _SLEEPER, *, listens: bool = True) -> None:
        self.supervised = Supervised(
            "fake worker",
            lambda: ChildProcess([sys.executable, "-I", "-S", "-c", program]),
            backoff=Backoff(first_s=0.05, most_s=0.05),
            grace_s=5.0,
        )
        self.listens = listens
        self.draining = False
        self.used = 0.0

    def is_listening(self) -> bool:
        return self.listens and self.supervised.pid is not None

    def alive(self) -> bool:
        return self.supervised.pid is not None

    def is_draining(self) -> bool:
        return self.draining

    def room_used(self) -> float:
        return self.used


@asynccontextmanager
async def running(*workers: FakeWorker) -> AsyncIterator[WorkerSlot]:
    """Run a slot whose workers come in this order."""
    line = iter(workers)
    slot = WorkerSlot(lambda: next(line))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(slot.run())
        await eventually(lambda: workers[0].supervised.pid)
        yield slot
        await slot.stop()


@in_loop
async def test_a_replaced_worker_ends_only_after_its_successor_listens() -> None:
    old, new = FakeWorker(), FakeWorker(listens=False)
    async with running(old, new) as slot:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(slot.replace())
            await eventually(lambda: new.supervised.pid)
            await asyncio.sleep(0.2)
            assert old.supervised.pid is not None
            new.listens = True
        await eventually(lambda: old.supervised.pid is None)
        assert new.supervised.pid is not None
    assert new.supervised.pid is None


@in_loop
async def test_a_slot_tells_the_room_of_the_worker_that_is_in_it() -> None:
    old, new = FakeWorker(), FakeWorker()
    old.used, new.used = 0.9, 0.2
    async with running(old, new) as slot:
        assert slot.room_used == 0.9
        await slot.replace()
        assert slot.room_used == 0.2


@in_loop
async def test_a_worker_that_drains_by_itself_gets_a_successor_at_once() -> None:
    old, new = FakeWorker(), FakeWorker()
    async with running(old, new):
        old.draining = True
        await eventually(lambda: new.supervised.pid)
        await eventually(lambda: old.supervised.pid is None)
        assert new.supervised.pid is not None


@in_loop
async def test_the_present_worker_stays_when_the_slot_is_stopped_before_its_successor_listens() -> None:
    old, new = FakeWorker(), FakeWorker(_BROKEN, listens=False)
    async with running(old, new) as slot:
        replacing = asyncio.create_task(slot.replace())
        await eventually(lambda: new.supervised.starts > 1)
        assert old.alive()
        await slot.stop()
        await replacing
    assert not old.alive()
    assert not new.alive()
