"""The worker's side of the control protocol: it never makes a request wait, and it outlives its controller."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.core.counts.histogram import LatencyHistogram
from services.core.counts.tally import Tally
from services.core.errors import InvalidRequest
from services.core.mirror import Mirror
from services.core.route import Route, RouteTable
from services.gateway.control.controllers import Controllers
from services.gateway.control.messages import table_from
from services.gateway.control.reporter import StatisticsReporter
from services.gateway.control.route_watch import RouteWatch
from services.gateway.control.table_cache import TableCache
from services.gateway.routes import Routes
from services.pb.penstock.v1 import routes_pb2
from services.process.ports import choose_free_port
from tests.fakes.controller import FakeController, controlling
from tests.fakes.gateway import eventually, in_loop

Saved = list[RouteTable]


def table(generation: int, stable: int = 1) -> RouteTable:
    route = Route("digits", stable, 2, 25, frozenset({1, 2}), Mirror(2, 50, 10, "tier", 0.01, 0.001, scores=True))
    return RouteTable(generation, {"digits": route}, {"digits": generation})


@asynccontextmanager
async def watching(port: int, routes: Routes, saved: Saved, **options: float) -> AsyncIterator[RouteWatch]:
    """Run a watch against a port."""
    controllers = Controllers([f"127.0.0.1:{port}"])
    watch = RouteWatch(controllers, "worker-1", routes, save=saved.append, **options)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await controllers.aclose()


@in_loop
async def test_every_new_table_is_served_and_saved() -> None:
    routes, saved = Routes(), Saved()
    async with controlling() as controller, watching(controller.port, routes, saved):
        for generation in (1, 2, 5):
            await controller.publish(table(generation))
            wanted = table(generation)
            await eventually(lambda: routes.table == wanted)  # noqa: B023 - awaited before the next round
        await eventually(lambda: len(saved) == 3)
        assert saved[-1] == table(5)
        assert controller.watchers == ["worker-1"]


@in_loop
async def test_the_last_table_stays_while_the_controller_is_away_and_changes_when_it_is_back() -> None:
    routes, saved = Routes(), Saved()
    port = choose_free_port()
    async with watching(port, routes, saved):
        async with controlling(port) as controller:
            await controller.publish(table(1))
            await eventually(lambda: routes.table == table(1))
        await asyncio.sleep(0.2)
        assert routes.table == table(1)
        async with controlling(port) as controller:
            await controller.publish(table(2))
            await eventually(lambda: routes.table == table(2))


@in_loop
async def test_an_older_table_is_not_taken() -> None:
    routes, saved = Routes(), Saved()
    routes.replace(table(7))
    async with controlling() as controller, watching(controller.port, routes, saved, rewind_after_s=60.0):
        await controller.publish(table(3, stable=2))
        await eventually(lambda: controller.watchers)
        await asyncio.sleep(0.2)
        assert routes.table == table(7)


@in_loop
async def test_a_controller_that_insists_on_an_older_table_has_a_new_database_and_is_followed() -> None:
    routes, saved = Routes(), Saved()
    routes.replace(table(7))
    async with controlling() as controller, watching(controller.port, routes, saved, rewind_after_s=0.2):
        await controller.publish(table(1, stable=2))
        await eventually(lambda: routes.table == table(1, stable=2))
        assert len(controller.watchers) >= 2


@in_loop
async def test_a_table_that_breaks_the_rules_changes_nothing() -> None:
    routes, saved = Routes(), Saved()
    async with controlling() as controller, watching(controller.port, routes, saved):
        await controller.publish(table(1))
        await eventually(lambda: routes.table == table(1))
        broken = routes_pb2.Route(model="digits", stable=1, candidate=2, weight_percent=101, versions=[1, 2])
        await controller.publish(routes_pb2.RouteTable(generation=2, routes=[broken]))
        await eventually(lambda: len(controller.watchers) == 2)
        assert routes.table == table(1)
        await controller.publish(table(3))
        await eventually(lambda: routes.table == table(3))


@pytest.mark.parametrize(
    "mirror",
    [
        routes_pb2.Mirror(version=3, percent=10),
        routes_pb2.Mirror(version=2, percent=101),
        routes_pb2.Mirror(version=2, percent=1, floor_percent=101),
        routes_pb2.Mirror(percent=1),
        routes_pb2.Mirror(version=2, percent=1, absolute_tolerance=-1.0),
        routes_pb2.Mirror(version=2, percent=1, relative_tolerance=math.nan),
        routes_pb2.Mirror(version=2, percent=1, slice_key="x" * 65),
    ],
)
def test_a_mirror_that_breaks_the_rules_makes_no_table(mirror: routes_pb2.Mirror) -> None:
    route = routes_pb2.Route(model="digits", stable=1, versions=[1, 2], mirror=mirror)
    with pytest.raises(InvalidRequest, match="makes no sense"):
        table_from(routes_pb2.RouteTable(generation=2, routes=[route]))


def test_a_table_that_was_saved_before_there_were_mirrors_has_none(tmp_path: Path) -> None:
    route = {"model": "m", "stable": 1, "candidate": None, "weight_percent": 0, "versions": [1]}
    (tmp_path / "routes.json").write_text(json.dumps({"generation": 3, "routes": [route]}))
    loaded = TableCache(tmp_path / "routes.json").load()
    assert loaded == RouteTable(3, {"m": Route("m", 1, versions=frozenset({1}))})


def test_a_saved_table_is_loaded_as_it_was(tmp_path: Path) -> None:
    cache = TableCache(tmp_path / "routes.json")
    assert cache.load() is None
    for generation in (4, 5):
        cache.save(table(generation))
    assert TableCache(tmp_path / "routes.json").load() == table(5)
    assert [path.name for path in tmp_path.iterdir()] == ["routes.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"generation": 1}', '{"generation": 1, "routes": [{"model": "m"}]}'])
def test_a_damaged_file_is_no_table(tmp_path: Path, text: str) -> None:
    path = tmp_path / "routes.json"
    path.write_text(text)
    assert TableCache(path).load() is None


def test_a_disk_that_does_not_take_the_table_does_not_stop_the_worker_and_is_not_filled(tmp_path: Path) -> None:
    assert not TableCache(tmp_path / "missing" / "routes.json").save(table(1))
    (tmp_path / "routes.json").mkdir()  # no file can take its place
    for generation in (1, 2, 3):
        assert not TableCache(tmp_path / "routes.json").save(table(generation))
    assert [path.name for path in tmp_path.iterdir()] == ["routes.json"]


def test_what_killed_workers_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    TableCache(tmp_path / "routes.json").save(table(4))
    for name, age_s in (("routes.json.old", 120), ("routes.json.new", 0), ("answers.table", 120)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, times=(time.time() - age_s,) * 2)
    TableCache(tmp_path / "routes.json").remove_leftovers(60.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.table", "routes.json", "routes.json.new"]
    assert TableCache(tmp_path / "routes.json").load() == table(4)


def test_a_table_of_a_higher_generation_stays_unless_generations_started_again(tmp_path: Path) -> None:
    cache = TableCache(tmp_path / "routes.json")
    assert cache.save(table(6))
    assert cache.save(table(5))
    assert cache.load() == table(6)
    assert cache.save(table(6, stable=2))
    assert cache.load() == table(6, stable=2)
    assert cache.save(table(2), rewound=True)
    assert cache.load() == table(2)


@in_loop
async def test_reports_carry_cumulative_tallies_the_generation_and_a_growing_sequence() -> None:
    latency = LatencyHistogram()
    latency.observe(0.25, 3)
    tally = Tally(4, 1, 2, latency, {"scores": (0, 5)}, unanswered=1)
    routes = Routes()
    routes.replace(table(6))
    async with controlling() as controller:
        controllers = Controllers([f"127.0.0.1:{controller.port}"])
        reporter = StatisticsReporter(
            controllers, "worker-1", lambda: {("digits", 2, "candidate"): tally}, routes, period_s=0.02
        )
        task = asyncio.create_task(reporter.run())
        await eventually(lambda: len(controller.reports) >= 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await controllers.aclose()
    first = controller.reports[0]
    assert [report.sequence for report in controller.reports] == list(range(1, len(controller.reports) + 1))
    assert (first.instance, first.served_generation) == ("worker-1", 6)
    entry = first.tallies[0]
    assert (entry.model, entry.version, entry.role) == ("digits", 2, "candidate")
    assert (entry.requests, entry.failed, entry.non_finite, entry.unanswered) == (4, 1, 2, 1)
    counts = dict(zip(entry.latency.bucket, entry.latency.count, strict=True))
    assert LatencyHistogram(counts, entry.latency.sum_s) == latency
    assert [(p.output, list(p.counts)) for p in entry.predictions] == [("scores", [0, 5])]


@in_loop
async def test_a_reporter_goes_on_when_the_controller_is_away() -> None:
    port = choose_free_port()
    controllers = Controllers([f"127.0.0.1:{port}"])
    reporter = StatisticsReporter(controllers, "worker-1", dict, Routes(), period_s=0.02, timeout_s=0.2)
    task = asyncio.create_task(reporter.run())
    await asyncio.sleep(0.1)
    controller = FakeController()
    async with controlling(port, controller):
        await eventually(lambda: controller.reports)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await controllers.aclose()
