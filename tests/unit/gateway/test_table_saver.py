"""Route tables on their way to a disk that hangs, fails, or is late."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from services.core.route import Route, RouteTable
from services.gateway.control.controllers import Controllers
from services.gateway.control.route_watch import RouteWatch
from services.gateway.control.table_cache import TableCache
from services.gateway.control.table_saver import TableSaver
from services.gateway.routes import Routes
from tests.fakes.controller import controlling
from tests.fakes.gateway import eventually, in_loop


def table(generation: int) -> RouteTable:
    return RouteTable(generation, {"digits": Route("digits", 1, versions=frozenset({1}))})


class Disk:
    """Keeps what it is given.

    Attributes:
        begun: Generations whose saving has begun.
        saved: Generations that are saved, and whether they might replace a higher one.
        refused: Generations that were not saved.
        free: While it is not set, the disk hangs.
        fails: Whether it takes nothing.
    """

    def __init__(self, cache: TableCache | None = None) -> None:
        self.begun: list[int] = []
        self.saved: list[tuple[int, bool]] = []
        self.refused: list[int] = []
        self.free = threading.Event()
        self.free.set()
        self.fails = False
        self._cache = cache

    def save(self, saved: RouteTable, rewound: bool) -> bool:
        self.begun.append(saved.generation)
        self.free.wait()
        if self.fails:
            self.refused.append(saved.generation)
            return False
        self.saved.append((saved.generation, rewound))
        return self._cache is None or self._cache.save(saved, rewound)


@in_loop
async def test_a_disk_that_hangs_keeps_nobody_from_following_and_gets_the_newest_table() -> None:
    routes, disk = Routes(), Disk()
    disk.free.clear()
    saver = TableSaver(disk.save)
    async with controlling() as controller:
        controllers = Controllers([f"127.0.0.1:{controller.port}"])
        task = asyncio.create_task(RouteWatch(controllers, "worker-1", routes, save=saver.put).run())
        for generation in (1, 2, 3):
            await controller.publish(table(generation))
            wanted = table(generation)
            await eventually(lambda: routes.table == wanted)  # noqa: B023 - awaited before the next round
            await eventually(lambda: disk.begun == [1])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await controllers.aclose()
    disk.free.set()
    assert await asyncio.to_thread(saver.close)
    assert disk.saved == [(1, False), (3, False)]


def test_at_the_end_the_newest_table_is_saved_or_its_time_is_over() -> None:
    disk = Disk()
    saver = TableSaver(disk.save)
    saver.put(table(4))
    assert saver.close()
    assert disk.saved == [(4, False)]
    hung = Disk()
    hung.free.clear()
    saver = TableSaver(hung.save, last_s=0.05)
    saver.put(table(4))
    assert not saver.close()
    hung.free.set()


@in_loop
async def test_a_table_of_a_replaced_database_may_replace_a_higher_one_until_one_is_saved() -> None:
    disk = Disk()
    saver = TableSaver(disk.save, present=7)
    disk.fails = True
    saver.put(table(2))
    await eventually(lambda: disk.refused == [2])
    disk.fails = False
    saver.put(table(3))
    await eventually(lambda: disk.saved == [(3, True)])
    saver.put(table(4))
    await eventually(lambda: disk.saved == [(3, True), (4, False)])
    assert saver.close()


@in_loop
async def test_an_older_table_that_is_late_leaves_a_newer_one_of_another_worker_alone(tmp_path: Path) -> None:
    late, other = (Disk(TableCache(tmp_path / "routes.json")) for _ in range(2))
    late.free.clear()
    savers = [TableSaver(disk.save) for disk in (late, other)]
    savers[0].put(table(5))
    await eventually(lambda: late.begun == [5])
    savers[1].put(table(6))
    assert savers[1].close()
    late.free.set()
    assert savers[0].close()
    assert (late.saved, other.saved) == ([(5, False)], [(6, False)])
    assert TableCache(tmp_path / "routes.json").load() == table(6)
