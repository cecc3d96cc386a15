"""Hedging with two real Tritons: while one stands still, its requests are answered by the other."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import orjson
import pytest

from services.core.route import Route, RouteTable
from services.triton.http import HttpPool
from tests.fakes.controller import controlling
from tests.fakes.gateway import eventually, in_loop
from tests.fakes.gateway_process import GatewayProcess, gateway_process
from tests.fakes.onnx_repository import build_repository
from tests.fakes.running_triton import RunningTriton, running_triton

pytestmark = [pytest.mark.integration, pytest.mark.measured]

BODY = orjson.dumps({"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]})
_CLIENTS = 4
# What else would help against a Triton that stands still comes this late, so a request that is sooner had its hedge.
_OTHER_HELP_S = 10.0
_CONFIG = f"""
gateway:
  replicas:
    hedge: true
    hedge_floor_s: 0.05
    hang_after_s: {_OTHER_HELP_S}
    attempt_timeout_s: {_OTHER_HELP_S}
    ready_interval_s: 60
"""


@in_loop
async def test_a_triton_that_stands_still_makes_nobody_wait(triton: RunningTriton, tmp_path: Path) -> None:
    build_repository(tmp_path / "repository")
    config = tmp_path / "penstock.yaml"
    config.write_text(_CONFIG, encoding="utf-8")
    with running_triton(tmp_path / "repository", tmp_path / "triton") as other:
        await asyncio.to_thread(other.load, "scale", 1)
        async with controlling() as controller:
            await controller.publish(RouteTable(1, {"scale": Route("scale", 1, versions=frozenset({1}))}))
            options = ("--triton", f"{triton.address},{other.address}", "--config", str(config))
            async with gateway_process(tmp_path / "state", 1, controller.port, *options, workers=1) as gateway:
                await gateway.announced()
                await eventually((tmp_path / "state" / "routes.json").exists)
                await _asked(gateway, 400)
                assert await _attempts(gateway, other) > 0
                before = await _hedges(gateway)
                os.kill(other.first_pid, signal.SIGSTOP)
                try:
                    longest_s = await _asked(gateway, 200)
                    await _losers_given_up(gateway)
                finally:
                    os.kill(other.first_pid, signal.SIGCONT)
                assert await _hedges(gateway) > before
                assert longest_s < _OTHER_HELP_S / 2
                count = await _attempts(gateway, other)
                while await _attempts(gateway, other) < count + 50:
                    await _asked(gateway, 50)


async def _asked(gateway: GatewayProcess, count: int) -> float:
    """Send requests, all of which must be answered; returns the seconds that the longest took."""
    pool = HttpPool("127.0.0.1", gateway.ports["REST"])
    took_s: list[float] = []

    async def client() -> None:
        for _ in range(count // _CLIENTS):
            begun = time.monotonic()
            response = await pool.request("POST", "/v2/models/scale/infer", {}, [BODY], 30.0)
            took_s.append(time.monotonic() - begun)
            assert response.status == 200, response.body

    try:
        await asyncio.gather(*[client() for _ in range(_CLIENTS)])
    finally:
        await pool.aclose()
    return max(took_s)


async def _hedges(gateway: GatewayProcess) -> float:
    return await gateway.metric("penstock_second_attempts_total", kind="hedge")


async def _losers_given_up(gateway: GatewayProcess) -> None:
    """Wait until no attempt is under way, while the Triton that has them still stands; the gauge is a sample."""
    async with asyncio.timeout(_OTHER_HELP_S / 2):
        while await gateway.metric("penstock_replica_in_flight") > 0:  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.1)


async def _attempts(gateway: GatewayProcess, triton: RunningTriton) -> float:
    return await gateway.metric("penstock_attempts_total", replica=f"127.0.0.1:{triton.http_port}", outcome="ok")
