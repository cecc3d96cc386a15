"""A real Triton with a version that differs on one input in a hundred: its mirror finds it, and the floor is still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from loadtest.mirror.model import NAME, ONE_IN, MirroredModel
from services.controller.gateways.fleet import Fleet, Report
from services.controller.gateways.wire import report_from
from services.core.analysis.assessment import Terms, assess
from services.core.analysis.verdict import Outcome
from services.core.counts.comparison import Comparison
from services.core.mirror import Mirror
from services.core.rollouts.evidence import Evidence
from services.core.rollouts.rollout_spec import AnalysisConfig
from services.core.route import Route, RouteTable
from tests.fakes.controller import FakeController, controlling
from tests.fakes.gateway import eventually, in_loop
from tests.fakes.gateway_process import GatewayProcess, gateway_process
from tests.fakes.running_triton import RunningTriton, running_triton

pytestmark = [pytest.mark.integration, pytest.mark.measured]

REQUESTS = 4 * ONE_IN
ELEMENTS = 16


def table(generation: int, mirror: Mirror | None) -> RouteTable:
    return RouteTable(generation, {NAME: Route(NAME, 1, versions=frozenset({1, 2}), mirror=mirror)})


class Controller:
    """What the real controller does with reports: checked, kept, and absorbed once."""

    def __init__(self, fake: FakeController) -> None:
        self._fake = fake
        self._fleet = Fleet(asyncio.get_running_loop().time, lambda: 1000, stale_after_s=60.0)
        self._taken = 0
        self.evidence = Evidence()

    def absorb(self) -> Evidence:
        """Take in every report that came since, each once more than it has to be."""
        for message in self._fake.reports[self._taken :]:
            report: Report = report_from(message)
            for _ in range(2):
                self._fleet.report(report)
                seen = self._fleet.sightings(NAME, 1, 2)
                self.evidence = self.evidence.absorb(seen, self._fleet.live(), 2)
        self._taken = len(self._fake.reports)
        return self.evidence

    def compared(self) -> int:
        """Return how many pairs are counted so far."""
        evidence = self.absorb()
        return evidence.comparison.pairs + evidence.floor.pairs


@asynccontextmanager
async def mirrored_gateway(
    triton: RunningTriton, state_dir: Path, mirror: Mirror
) -> AsyncIterator[tuple[GatewayProcess, FakeController, Controller]]:
    async with controlling() as fake:
        await fake.publish(table(1, None))
        async with gateway_process(state_dir, triton.http_port, fake.port, workers=1) as gateway:
            await gateway.announced()
            await eventually((state_dir / "routes.json").exists)
            await fake.publish(table(2, mirror))
            await eventually(lambda: fake.reports and fake.reports[-1].served_generation == 2)
            yield gateway, fake, Controller(fake)


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    root = tmp_path_factory.mktemp("mirror")
    MirroredModel(8, 0.0, 0.0, ELEMENTS).publish(root / "repository")
    with running_triton(root / "repository", root / "state") as running:
        running.load(NAME, 1, 2)
        yield running


def rows() -> npt.NDArray[np.float32]:
    found = np.random.default_rng(3).normal(size=(REQUESTS, ELEMENTS)).astype(np.float32)
    found[:, 0] = np.arange(REQUESTS)
    return found


def over_http(port: int, sent: npt.NDArray[np.float32] | None = None) -> int:
    """Ask for every row and return how many answers were right and from version 1."""
    right = 0
    with triton_http.InferenceServerClient(f"127.0.0.1:{port}") as client:
        for number, row in enumerate(rows() if sent is None else sent):
            tensor = triton_http.InferInput("x", [1, ELEMENTS], "FP32").set_data_from_numpy(row[None])
            result = client.infer(NAME, [tensor], headers={"tier": "gold" if number % 4 == 0 else "blue"})
            echoed = np.array_equal(result.as_numpy("y"), row[None], equal_nan=True)
            right += result.get_response()["model_version"] == "1" and echoed
    return right


def over_grpc(port: int) -> int:
    """As ``over_http``."""
    right = 0
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        for number, row in enumerate(rows()):
            tensor = triton_grpc.InferInput("x", [1, ELEMENTS], "FP32")
            tensor.set_data_from_numpy(row[None])
            result = client.infer(NAME, [tensor], headers={"tier": "gold" if number % 4 == 0 else "blue"})
            right += result.get_response().model_version == "1" and bool((result.as_numpy("y") == row[None]).all())
    return right


@pytest.mark.parametrize("protocol", ["REST", "gRPC"])
@in_loop
async def test_a_version_that_differs_on_one_input_in_a_hundred_is_found_and_the_floor_is_still(
    triton: RunningTriton, tmp_path: Path, protocol: str
) -> None:
    mirror = Mirror(2, 100, floor_percent=25, slice_key="tier")
    async with mirrored_gateway(triton, tmp_path, mirror) as (gateway, _, controller):
        controller.absorb()
        asker = over_http if protocol == "REST" else over_grpc
        assert await asyncio.to_thread(asker, gateway.ports[protocol]) == REQUESTS
        await eventually(lambda: controller.compared() == REQUESTS)
        evidence = controller.evidence
        assert (evidence.comparison.failed, evidence.comparison.dropped) == (0, 0)
        assert abs(evidence.floor.pairs - REQUESTS / 4) <= 4
        assert (evidence.floor.differing, evidence.floor.all.agree) == (0, evidence.floor.pairs)
        # 4 of the 400 inputs differ; which of them go to the floor is chosen without looking at them.
        assert 1 <= evidence.comparison.differing <= 4
        assert evidence.comparison.outputs["y"].absolute.quantile(1.0) == pytest.approx(1.0, rel=0.2)
        assert set(evidence.comparison.slices) == {"tier=gold", "tier=blue"}
        assert evidence.comparison.slices["tier=gold"].differing == evidence.comparison.differing
        assert evidence.comparison.original.total == evidence.comparison.copy.total == evidence.comparison.pairs
        assert await gateway.metric("penstock_mirror_total", outcome="different") == evidence.comparison.differing
        assert await gateway.metric("penstock_mirror_pairs_total", slice="", result="pairs") == REQUESTS
        assert await gateway.metric("penstock_requests_total", outcome="ok") == REQUESTS
        assert await gateway.metric("penstock_requests_total", version="2") == 0


@in_loop
async def test_values_that_are_not_finite_by_design_are_told_from_other_differences(
    triton: RunningTriton, tmp_path: Path
) -> None:
    sent = rows()[:50]
    sent[3:10, 5], sent[20, 2] = np.nan, -np.inf
    async with mirrored_gateway(triton, tmp_path, Mirror(2, 100, floor_percent=0)) as (gateway, _, controller):
        controller.absorb()
        assert await asyncio.to_thread(over_http, gateway.ports["REST"], sent) == len(sent)
        await eventually(lambda: controller.compared() == len(sent))
        seen = controller.evidence
        assert (seen.comparison.outputs["y"].both_non_finite, seen.comparison.outputs["y"].non_finite) == (8, 0)
        assert seen.stable.non_finite == 8
        assert await gateway.metric("penstock_mirror_non_finite_pairs_total", output="y", where="both") == 8
        terms = Terms(AnalysisConfig(), 0, 20, 1, final=False, mirror_percent=100)
        checks = {check.name: check for check in assess(terms, seen.seen).checks}
        assert checks["finite"].outcome is Outcome.PASS
        assert "to 8 of 50 requests both versions gave the same values" in checks["finite"].text


@in_loop
async def test_a_worker_that_is_killed_half_way_counts_nothing_twice(triton: RunningTriton, tmp_path: Path) -> None:
    async with mirrored_gateway(triton, tmp_path, Mirror(2, 100)) as (gateway, fake, controller):
        controller.absorb()
        assert await asyncio.to_thread(over_grpc, gateway.ports["gRPC"]) == REQUESTS
        await eventually(lambda: controller.compared() == REQUESTS)
        (worker,) = gateway.workers()
        worker.kill()
        old = fake.reports[-1].instance
        await eventually(lambda: fake.reports[-1].instance != old and fake.reports[-1].served_generation == 2)
        controller.absorb()
        assert await asyncio.to_thread(over_http, gateway.ports["REST"]) == REQUESTS
        await eventually(lambda: controller.compared() == 2 * REQUESTS)
        assert controller.evidence.comparison.differing == 2 * REQUESTS // ONE_IN
        assert controller.evidence.floor == Comparison()
