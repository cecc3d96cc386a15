"""A gateway of real processes between real sockets. Its Triton is a gateway in the test's process with fake models."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import numpy as np
import orjson
import pytest

from services.core.address import Address
from services.core.replica_address import ReplicaAddress
from services.gateway.fleet import Endpoints, Fleet
from services.gateway.settings import Behaviour, GatewaySettings
from services.triton.http import HttpPool
from tests.fakes.controller import controlling
from tests.fakes.gateway import eventually, in_loop, serving
from tests.fakes.gateway_process import GatewayProcess, gateway_process
from tests.fakes.upstream import FakeUpstream, standard_table

pytestmark = pytest.mark.integration

BODY = orjson.dumps({"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]})


class Load:
    """Clients that send one request after the other on connections of their own."""

    def __init__(self, gateway: GatewayProcess, clients: int) -> None:
        self.statuses: list[int] = []
        self.errors: list[str] = []
        self._gateway = gateway
        self._clients = clients
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._clients)]

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _client(self) -> None:
        from services.core.errors import PenstockError

        pool = HttpPool("127.0.0.1", self._gateway.ports["REST"])
        while not self._stop.is_set():
            try:
                response = await pool.request("POST", "/v2/models/digits/infer", {}, [BODY], 10.0)
                self.statuses.append(response.status)
            except PenstockError as error:
                self.errors.append(str(error))
                await asyncio.sleep(0.01)
        await pool.aclose()


async def _ask(port: int) -> int:
    pool = HttpPool("127.0.0.1", port)
    try:
        return (await pool.request("POST", "/v2/models/digits/infer", {}, [BODY], 10.0)).status
    finally:
        await pool.aclose()


@in_loop
async def test_one_scrape_shows_all_workers_and_the_controller_hears_from_each(tmp_path: Path) -> None:
    async with serving() as triton, controlling() as controller:
        await controller.publish(standard_table(4, candidate=2, weight_percent=50))
        async with gateway_process(tmp_path, triton.gateway.http_port, controller.port) as gateway:
            await gateway.announced()
            await eventually(lambda: len(controller.watchers) == 2)
            await asyncio.sleep(0.2)
            # A new connection for each request: the kernel spreads them over the workers.
            assert {await _ask(gateway.ports["REST"]) for _ in range(60)} == {200}
            assert await gateway.metric("penstock_requests_total", model="digits", outcome="ok") == 60
            by_role = [await gateway.metric("penstock_requests_total", role=role) for role in ("stable", "candidate")]
            assert sum(by_role) == 60
            assert min(by_role) > 10
            assert await gateway.metric("penstock_workers") == 2
            assert await gateway.metric("penstock_route_generation") == 4
            latest: dict[str, int] = {}

            def reported() -> bool:
                for report in controller.reports:
                    latest[report.instance] = sum(tally.requests for tally in report.tallies)
                return sum(latest.values()) == 60

            await eventually(reported)
            assert len(latest) == 2
            assert all(latest.values())
            assert await gateway.terminate() == 0


@in_loop
async def test_a_worker_that_is_killed_is_replaced_and_its_counts_are_kept(tmp_path: Path) -> None:
    async with serving() as triton, controlling() as controller:
        await controller.publish(standard_table())
        async with gateway_process(tmp_path, triton.gateway.http_port, controller.port) as gateway:
            await gateway.announced()
            await eventually(lambda: len(controller.watchers) == 2)
            load = Load(gateway, clients=4)
            load.start()
            await eventually(lambda: len(load.statuses) > 200)
            before = await gateway.metric("penstock_requests_total", outcome="ok")
            victim = gateway.workers()[0].pid
            os.kill(victim, signal.SIGKILL)
            seen = [before]
            await eventually(lambda: len(controller.watchers) == 3)
            while await gateway.metric("penstock_workers") < 2:
                seen.append(await gateway.metric("penstock_requests_total", outcome="ok"))
            seen.append(await gateway.metric("penstock_requests_total", outcome="ok"))
            assert seen == sorted(seen)
            assert victim not in [worker.pid for worker in gateway.workers()]
            await load.stop()
            # What was in flight in the killed process is lost, and nothing else: one request of each client at most.
            assert set(load.statuses) == {200}
            assert len(load.errors) <= 8
            answered = await gateway.metric("penstock_requests_total", outcome="ok")
            assert answered >= len(load.statuses)


@in_loop
async def test_a_worker_whose_counters_are_nearly_full_is_replaced_once_and_no_request_is_lost(tmp_path: Path) -> None:
    async with serving() as triton, controlling() as controller:
        await controller.publish(standard_table())
        behaviour = Behaviour(
            (ReplicaAddress("127.0.0.1", triton.gateway.http_port, 1),), (Address("127.0.0.1", controller.port),)
        )
        # One version's counters are more than a quarter of it beside what every worker has.
        settings = GatewaySettings(
            behaviour, tmp_path, http_port=0, grpc_port=0, metrics_port=0, workers=1, slab_bytes=140 * 1024
        )
        announced: asyncio.Future[Endpoints] = asyncio.get_running_loop().create_future()
        stop = asyncio.Event()
        running = asyncio.create_task(Fleet(settings, announced.set_result).run(stop, asyncio.Event()))
        try:
            await eventually(lambda: announced.done() or running.done())
            port = int(announced.result().rest.rpartition(":")[2])
            assert {await _ask(port) for _ in range(20)} == {200}
            await eventually(lambda: len(set(controller.watchers)) == 2)
            assert {await _ask(port) for _ in range(20)} == {200}
        finally:
            stop.set()
            await running
        latest = {report.instance: sum(tally.requests for tally in report.tallies) for report in controller.reports}
        assert sum(latest.values()) == 40
        assert len(latest) == 2


@in_loop
async def test_a_drain_under_load_fails_no_request_that_was_taken(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    upstream = FakeUpstream(delay_s=lambda: float(chance.uniform(0.0, 0.3)))
    async with serving(upstream) as triton, controlling() as controller:
        await controller.publish(standard_table())
        async with gateway_process(tmp_path, triton.gateway.http_port, controller.port) as gateway:
            await gateway.announced()
            await eventually(lambda: len(controller.watchers) == 2)
            load = Load(gateway, clients=16)
            load.start()
            await eventually(lambda: len(load.statuses) > 100)
            assert await gateway.terminate() == 0
            taken = len(upstream.requests)
            await load.stop()
            assert set(load.statuses) == {200}
            assert len(load.statuses) == taken
            # After the end there is nobody to connect to; before it, no connection broke.
            assert all("cannot connect" in error for error in load.errors), load.errors[:3]


@in_loop
async def test_a_gateway_that_starts_without_its_controller_serves_with_the_last_table(tmp_path: Path) -> None:
    async with serving() as triton, controlling() as controller:
        await controller.publish(standard_table(9))
        async with gateway_process(tmp_path, triton.gateway.http_port, controller.port, workers=1) as gateway:
            await gateway.announced()
            await eventually((tmp_path / "routes.json").exists)
            assert await _ask(gateway.ports["REST"]) == 200

        async with gateway_process(tmp_path, triton.gateway.http_port, 1, workers=1) as gateway:
            await gateway.announced()
            assert await _ask(gateway.ports["REST"]) == 200
            assert await gateway.metric("penstock_route_generation") == 9

        assert list((tmp_path / "slabs").iterdir()) == []


@in_loop
async def test_a_worker_takes_connections_once_it_has_a_table(tmp_path: Path) -> None:
    async with serving() as triton, controlling() as controller:
        controller.hesitates_s = 0.8
        await controller.publish(standard_table())
        async with gateway_process(tmp_path, triton.gateway.http_port, controller.port) as gateway:
            await gateway.announced()
            assert {await _ask(gateway.ports["REST"]) for _ in range(20)} == {200}


@in_loop
async def test_without_a_controller_and_a_saved_table_it_refuses_in_words(tmp_path: Path) -> None:
    async with serving() as triton, gateway_process(tmp_path, triton.gateway.http_port, 1, workers=1) as gateway:
        await gateway.announced()
        pool = HttpPool("127.0.0.1", gateway.ports["REST"])
        refused = await pool.request("POST", "/v2/models/digits/infer", {}, [BODY], 10.0)
        ready = await pool.request("GET", "/v2/health/ready", timeout_s=10.0)
        await pool.aclose()
        assert (refused.status, ready.status) == (503, 400)  # what Triton answers where it is not ready
        assert b"has not reached its controller" in refused.body


@in_loop
async def test_a_port_in_use_is_said_in_words(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with gateway_process(tmp_path, 1, 1, "--http-port", str(port)) as gateway:
            assert await gateway.process.wait() == 2
            await gateway.terminate()
            assert f"port {port}" in gateway.errors
            assert "--http-port" in gateway.errors
            assert "Traceback" not in gateway.errors


@in_loop
async def test_a_second_gateway_on_the_same_port_is_refused(tmp_path: Path) -> None:
    async with serving() as triton, gateway_process(tmp_path / "1", triton.gateway.http_port, 1) as first:
        await first.announced()
        taken = str(first.ports["gRPC"])
        async with gateway_process(tmp_path / "2", 1, 1, "--grpc-port", taken) as second:
            assert await second.process.wait() == 2


@in_loop
async def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    async with serving() as triton, gateway_process(tmp_path, triton.gateway.http_port, 1) as gateway:
        await gateway.announced()
        workers = gateway.workers()
        assert len(workers) == 2
        gateway.process.kill()
        await eventually(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers))
