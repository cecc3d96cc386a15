"""One key meets one version: the same over REST and gRPC, at every gateway and in every worker, and monotone."""

import asyncio
import hashlib
import multiprocessing
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from loadtest.sleeping_model import SleepingModel
from services.core.route import Role, Route, RouteTable
from services.gateway.routes import Routes
from tests.fakes.controller import controlling
from tests.fakes.gateway import eventually, in_loop
from tests.fakes.gateway_process import gateway_process
from tests.fakes.running_triton import RunningTriton, running_triton

pytestmark = pytest.mark.integration

MODEL = SleepingModel("sticky", 8, 0.0, 0.0)
WEIGHTS = (0, 5, 25, 100, 0)
KEYS = [f"user-{number}" for number in range(60)]
MILLION = 1_000_000


def table(generation: int, weight: int) -> RouteTable:
    return RouteTable(generation, {MODEL.name: Route(MODEL.name, 1, 2, weight, frozenset({1, 2}))})


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    root = tmp_path_factory.mktemp("sticky")
    MODEL.publish(root / "repository")
    folder = root / "repository" / MODEL.name
    (folder / "2").mkdir()
    (folder / "2" / "model.py").write_bytes((folder / "1" / "model.py").read_bytes())
    with running_triton(root / "repository", root / "state") as running:
        running.load(MODEL.name, 1, 2)
        yield running


def over_http(port: int) -> set[str]:
    """Return the keys that version 2 answers, named in the header."""
    row = np.zeros((1, 1), np.float32)
    found = set()
    for key in KEYS:
        # A connection each: another worker may take it.
        with triton_http.InferenceServerClient(f"127.0.0.1:{port}") as client:
            tensor = triton_http.InferInput("x", [1, 1], "FP32").set_data_from_numpy(row)
            result = client.infer(MODEL.name, [tensor], headers={"penstock-routing-key": key})
            found |= {key} if result.get_response()["model_version"] == "2" else set()
    return found


def over_grpc(port: int) -> set[str]:
    """Return the keys that version 2 answers, named in a request parameter."""
    row = np.zeros((1, 1), np.float32)
    found = set()
    for key in KEYS:
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
            tensor = triton_grpc.InferInput("x", [1, 1], "FP32")
            tensor.set_data_from_numpy(row)
            result = client.infer(MODEL.name, [tensor], parameters={"routing_key": key})
            found |= {key} if result.get_response().model_version == "2" else set()
    return found


@in_loop
async def test_a_key_meets_one_version_at_both_gateways_over_both_protocols_while_the_weight_goes_up_and_back(
    triton: RunningTriton, tmp_path: Path
) -> None:
    shares: list[set[str]] = []
    async with controlling() as fake:
        await fake.publish(table(1, 0))
        async with (
            gateway_process(tmp_path / "one", triton.http_port, fake.port) as one,
            gateway_process(tmp_path / "two", triton.http_port, fake.port) as two,
        ):
            await asyncio.gather(one.announced(), two.announced())
            for generation, weight in enumerate(WEIGHTS, 2):
                await fake.publish(table(generation, weight))

                def all_serve(generation: int = generation) -> bool:
                    newest = {report.instance: report.served_generation for report in fake.reports}
                    return len(newest) == 4 and min(newest.values()) == generation

                await eventually(all_serve)
                asked = [asyncio.to_thread(over_http, each.ports["REST"]) for each in (one, two)]
                asked += [asyncio.to_thread(over_grpc, each.ports["gRPC"]) for each in (one, two)]
                found = await asyncio.gather(*asked)
                assert all(each == found[0] for each in found)
                shares.append(found[0])
    assert (shares[0], shares[3], shares[4]) == (set(), set(KEYS), set())
    for smaller, larger in pairwise(shares[:4]):
        assert smaller < larger


def assignments(weights: tuple[int, ...]) -> list[tuple[str, int, bool]]:
    """Return, by weight, the digest of who owns which of a million keys, how many the candidate has, and if it grew."""
    routes, owned, found = Routes(), bytes(MILLION), []
    for generation, weight in enumerate(weights, 1):
        routes.replace(table(generation, weight))
        now = bytes(routes.pick(MODEL.name, None, f"user-{number}").role is Role.CANDIDATE for number in range(MILLION))
        grew = int.from_bytes(owned) & ~int.from_bytes(now) == 0
        found.append((hashlib.sha256(now).hexdigest(), sum(now), grew))
        owned = now
    return found


def test_of_a_million_keys_two_gateways_give_each_to_the_same_version_and_raising_only_adds() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        one, two = pool.map(assignments, [WEIGHTS, WEIGHTS])
    assert one == two
    digests, counts, grew = zip(*one, strict=True)
    assert counts == (0, pytest.approx(50_000, rel=0.02), pytest.approx(250_000, rel=0.01), MILLION, 0)
    assert grew == (True, True, True, True, False)
    assert digests[0] == digests[4]
