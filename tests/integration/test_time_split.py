"""Where a request's time goes, told by the gateway about a real Triton: the parts add up to the whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from services.core.route import Route, RouteTable
from services.gateway.metrics.vocabulary import PARTS
from services.triton.http import HttpPool
from tests.fakes.controller import controlling
from tests.fakes.gateway import eventually, in_loop
from tests.fakes.gateway_process import GatewayProcess, gateway_process
from tests.fakes.running_triton import RunningTriton

pytestmark = [pytest.mark.integration, pytest.mark.measured]

TIME = "penstock_time_seconds_total"
WHOLE = "penstock_request_duration_seconds_sum"


@asynccontextmanager
async def gateway(triton: RunningTriton, state_dir: Path, *, merging: bool = True) -> AsyncIterator[GatewayProcess]:
    """Run a gateway with two workers in front of Triton."""
    config = state_dir / "settings.yaml"
    config.write_bytes(orjson.dumps({"gateway": {"merging": {"enabled": merging}}}))  # JSON is YAML too
    async with controlling() as controller:
        await controller.publish(
            RouteTable(1, {model: Route(model, 1, versions=frozenset({1})) for model in ("scale", "lookup")})
        )
        async with gateway_process(state_dir, triton.http_port, controller.port, "--config", str(config)) as running:
            await running.announced()
            await eventually(lambda: len(controller.watchers) == 2)
            await known_to_the_parent(running)
            yield running


async def known_to_the_parent(running: GatewayProcess) -> None:
    """Wait until both workers say which replicas there are, and for the look at them that follows."""
    while await running.metric("penstock_replica_healthy_workers") < 2:  # noqa: ASYNC110 - other processes
        await asyncio.sleep(0.05)
    await asyncio.sleep(2.5)


async def ask(port: int, model: str, data: dict[str, object], count: int, at_once: int) -> None:
    """Send requests over REST, ``at_once`` of them together."""
    body = orjson.dumps({"inputs": [data]})
    pool = HttpPool("127.0.0.1", port)
    slots = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with slots:
            response = await pool.request("POST", f"/v2/models/{model}/infer", None, (body,), timeout_s=20.0)
            assert response.status == 200, response.body

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                tasks.create_task(one())
    finally:
        await pool.aclose()


async def settled(running: GatewayProcess, model: str, count: int) -> dict[str, float]:
    """Return the parts when all requests are in them."""
    assert await running.metric("penstock_requests_total", model=model, outcome="ok") == count
    whole = await running.metric(WHOLE, model=model, outcome="ok")
    while True:
        total = await running.metric(TIME, model=model)
        if total == pytest.approx(whole, rel=0.03):
            break
        await asyncio.sleep(0.2)
    return {part: await running.metric(TIME, model=model, part=part) for part in PARTS} | {"whole": whole}


async def triton_says(triton: RunningTriton, model: str) -> dict[str, float]:
    """Return the sums of Triton's statistics in seconds."""
    async with triton.upstream() as upstream:
        document = await upstream.document(f"v2/models/{model}/versions/1/stats")
    of_version = document["model_stats"][0]
    stats = of_version["inference_stats"]
    counts = {"requests": stats["success"]["count"], "rows": of_version["inference_count"]}
    return {name: row["ns"] / 1e9 for name, row in stats.items()} | counts


@pytest.mark.parametrize("merging", [False, True], ids=["one by one", "merged"])
@in_loop
async def test_the_parts_of_many_requests_add_up_and_tritons_are_what_triton_says(
    triton: RunningTriton, tmp_path: Path, merging: bool
) -> None:
    async with gateway(triton, tmp_path, merging=merging) as running:
        before = await triton_says(triton, "scale")
        data: dict[str, object] = {"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
        await ask(running.ports["REST"], "scale", data, 400, at_once=8)
        parts = await settled(running, "scale", 400)
        after = await triton_says(triton, "scale")
    grown = {name: after[name] - before[name] for name in after}
    assert grown["rows"] == 400
    computed = grown["compute_input"] + grown["compute_infer"] + grown["compute_output"]
    if merging:
        # Triton counts what several experienced together once, and the parts for each of them.
        assert grown["requests"] < 400
        assert parts["triton_queue"] > grown["queue"]
        assert parts["triton_queue"] / parts["triton_compute"] == pytest.approx(grown["queue"] / computed, rel=0.02)
    else:
        assert grown["requests"] == 400
        assert parts["triton_queue"] == pytest.approx(grown["queue"], rel=0.02)
        assert parts["triton_compute"] == pytest.approx(computed, rel=0.02)
    # Triton's own parts leave little of its own whole, and all parts together little of ours.
    assert grown["queue"] + computed == pytest.approx(grown["success"], rel=0.1)
    assert 0 <= parts["unexplained"] < 0.05 * parts["whole"]
    assert all(parts[part] > 0 for part in ("edge", "admission", "gateway", "network", "answer"))


@in_loop
async def test_the_wait_for_a_batch_is_in_the_queues_part(triton: RunningTriton, tmp_path: Path) -> None:
    """``lookup`` waits 0.3 s for a batch of four: that is where the time of lone requests goes."""
    async with gateway(triton, tmp_path) as running:
        before = await triton_says(triton, "lookup")
        data: dict[str, object] = {"name": "index", "datatype": "INT64", "shape": [1, 1], "data": [3]}
        await ask(running.ports["REST"], "lookup", data, 6, at_once=1)
        parts = await settled(running, "lookup", 6)
        after = await triton_says(triton, "lookup")
    assert parts["triton_queue"] == pytest.approx(after["queue"] - before["queue"], rel=0.02)
    assert parts["triton_queue"] >= 6 * 0.29
    assert parts["triton_queue"] == max(parts[part] for part in PARTS)
