"""Two controllers on one PostgreSQL, with a real Triton and a real gateway: one leads, and the other takes over."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest

from loadtest.postgres import Postgres
from services.pb.penstock.v1 import rollouts_pb2, rollouts_pb2_grpc
from services.process.ports import choose_free_ports
from tests.fakes import aio
from tests.fakes.gateway_process import gateway_process
from tests.fakes.onnx_repository import scale
from tests.fakes.running_controller import RunningController, running_controller
from tests.fakes.running_triton import RunningTriton, running_triton

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
QUESTION = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
STEPS = [{"weight_percent": 10, "duration_s": 600, "min_requests": 50}]


@pytest.fixture(scope="module")
def own_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    root = tmp_path_factory.mktemp("led")
    scale(root / "repository")
    with running_triton(root / "repository", root / "triton") as running:
        yield running


class Pair:
    """Two controllers."""

    def __init__(self, one: RunningController, two: RunningController) -> None:
        self.both = (one, two)

    def leader(self, timeout_s: float = 30.0) -> RunningController:
        """Return the one that leads, and is the only one that says so."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            said = [(each, each.get("/v1/leader")) for each in self.both if each.process.poll() is None]
            leading = [each for each, document in said if document and document["leading"]]
            assert len(leading) < 2
            if leading:
                return leading[0]
            time.sleep(0.02)
        raise AssertionError(f"nobody leads after {timeout_s} s")

    def other(self, than: RunningController) -> RunningController:
        return next(each for each in self.both if each is not than)


@pytest.fixture
def pair(own_triton: RunningTriton, postgres: Postgres, tmp_path: Path) -> Iterator[Pair]:
    options = ("--database-url", postgres.create())
    where = (own_triton.repository, own_triton.address)
    with (
        running_controller(*where, tmp_path / "one", *options) as one,
        running_controller(*where, tmp_path / "two", *options) as two,
    ):
        yield Pair(one, two)


def audit(controller: RunningController, *arguments: str) -> Any:
    command = [sys.executable, "-m", "services.cli.main", "rollout", "audit", *arguments]
    done = subprocess.run(
        [*command, "--controller", controller.url, "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["audit"]


def test_gateways_find_the_leader_serve_through_its_end_and_report_to_the_next(pair: Pair, tmp_path: Path) -> None:
    first = pair.leader()
    second = pair.other(first)
    first.until("/v1/models/scale", lambda model: model.get("stable") == 3)
    addresses = ",".join(f"127.0.0.1:{each.grpc_port}" for each in (second, first))

    async def through() -> None:
        triton = first.get("/v1/models/scale")
        assert triton["loaded"] == [3]
        async with gateway_process(tmp_path / "gateway", _triton_ports(pair), 1, "--controller", addresses) as gateway:
            await gateway.announced()
            url = f"http://127.0.0.1:{gateway.ports['REST']}/v2/models/scale"
            async with httpx2.AsyncClient(timeout=5.0, trust_env=False) as client:
                await aio.until(lambda: len(first.get("/v1/routes")["workers"]) == 2)
                async with asyncio.timeout(20.0):
                    while (await client.get(f"{url}/ready")).status_code != 200:  # noqa: ASYNC110 - over HTTP
                        await asyncio.sleep(0.1)
                answers: list[int] = []
                sending = asyncio.create_task(_send(client, f"{url}/infer", answers))
                started = second.post("/v1/rollouts", {"model": "scale", "version": 2, "steps": STEPS, "actor": "ada"})
                assert started.status_code == 201, started.text
                assert started.headers["penstock-answered-by"].rpartition("-")[0] in first.get("/v1/leader")["instance"]
                killed_at = time.monotonic()
                await asyncio.to_thread(first.kill)
                await asyncio.to_thread(pair.leader, 5.0)
                took = time.monotonic() - killed_at
                await asyncio.to_thread(second.until, "/v1/routes", lambda routes: len(routes["workers"]) == 2)
                assert time.monotonic() - killed_at < 10.0
                first.start_again()
                await asyncio.to_thread(second.until, "/v1/rollouts/scale-1", lambda r: r["weight_percent"] == 10)
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        assert len(answers) > 10
        assert set(answers) == {200}
        assert took < 3.0

    aio.run(through(), timeout_s=120.0)
    first.until("/v1/leader", lambda leader: leader["leading"] is False and leader["epoch"] == 2)
    records = audit(first, "scale-1")
    assert [(r["actor"], r["action"]) for r in reversed(records)][:2] == [("ada", "start"), ("controller", "loaded")]
    assert len({r["instance"] for r in records}) <= 2


def test_a_leader_that_was_frozen_finds_another_in_its_place_and_follows(pair: Pair) -> None:
    first = pair.leader()
    second = pair.other(first)
    first.until("/v1/models/scale", lambda model: model.get("stable") == 3)
    first.process.send_signal(signal.SIGSTOP)
    try:
        frozen_at = time.monotonic()
        second.until("/v1/leader", lambda leader: leader["leading"])
        assert time.monotonic() - frozen_at < 6.0
        started = second.post("/v1/rollouts", {"model": "scale", "version": 2, "steps": STEPS, "actor": "bob"})
        assert started.status_code == 201, started.text
    finally:
        first.process.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 5.0
    while (aborted := first.post("/v1/rollouts/scale-1/abort", {"actor": "bob"})).status_code == 503:
        assert time.monotonic() < deadline, aborted.text  # it has to read first who leads now
        time.sleep(0.1)
    assert aborted.status_code == 200, aborted.text
    first.until("/v1/leader", lambda leader: not leader["leading"])
    assert second.get("/v1/leader")["leading"]
    first.until("/v1/rollouts/scale-1", lambda rollout: rollout["phase"] in {"aborting", "aborted"})
    instance = second.get("/v1/leader")["instance"]
    assert {record["instance"] for record in audit(first, "scale-1")} == {instance}


def test_verbs_over_grpc_at_the_follower_are_done_by_the_leader(pair: Pair) -> None:
    first = pair.leader()
    second = pair.other(first)
    first.until("/v1/models/scale", lambda model: model.get("stable") == 3)
    second.until("/v1/leader", lambda document: document["leader"] is not None)
    with grpc.insecure_channel(f"127.0.0.1:{second.grpc_port}") as channel:
        stub = rollouts_pb2_grpc.RolloutServiceStub(channel)
        spec = rollouts_pb2.RolloutSpec(model="scale", version=2)
        started = stub.StartRollout(rollouts_pb2.StartRolloutRequest(spec=spec, actor="ada"), timeout=20)
        found = stub.GetRollout(rollouts_pb2.GetRolloutRequest(id=started.id), timeout=20)
        assert (found.candidate, found.stable) == (2, 3)
        watch = stub.WatchRollout(rollouts_pb2.GetRolloutRequest(id=started.id), timeout=60)
        assert next(watch).rollout.active
        stub.Abort(rollouts_pb2.VerbRequest(id=started.id, actor="bob"), timeout=20)
        assert [state.rollout.phase for state in watch][-1] == "aborted", "a follower tells what the leader does"
    instance = first.get("/v1/leader")["instance"]
    assert {record["instance"] for record in audit(second, started.id)} == {instance}


def test_a_follower_tells_over_rest_what_a_rollout_waits_for_and_how_a_short_one_ends(pair: Pair) -> None:
    first = pair.leader()
    second = pair.other(first)
    first.until("/v1/models/scale", lambda model: model.get("stable") == 3)
    second.until("/v1/leader", lambda document: document["leader"] is not None)
    [closed] = choose_free_ports(1)
    gate = {"name": "gate", "occasion": "confirm-rollout", "url": f"http://127.0.0.1:{closed}/"}
    body = {"model": "scale", "version": 2, "steps": STEPS, "actor": "ada", "webhooks": [gate]}
    assert second.post("/v1/rollouts", body).status_code == 201
    waits = "Waits for webhook gate: "
    told = second.until("/v1/rollouts/scale-1/explanation", lambda said: said["lines"][0].startswith(waits))
    assert told["lines"][0] == first.get("/v1/rollouts/scale-1/explanation")["lines"][0]
    followed = httpx2.stream("GET", f"{second.url}/v1/rollouts/scale-1/events", timeout=30.0, trust_env=False)
    with followed as stream:
        lines = stream.iter_lines()
        assert next(line for line in lines if line.startswith("event: ")) == "event: rollout"
        assert second.post("/v1/rollouts/scale-1/abort", {"actor": "bob"}).status_code == 200
        states = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert states[-1]["phase"] == "aborted"
    first.kill()
    first.process.wait()
    second.until("/v1/leader", lambda leader: leader["leading"])
    assert second.get("/v1/rollouts/scale-1/explanation")["lines"]


def _triton_ports(pair: Pair) -> str:
    command = pair.both[0].command
    return command[command.index("--triton") + 1].partition(":")[2]


async def _send(client: httpx2.AsyncClient, url: str, answers: list[int]) -> None:
    while True:
        answers.append((await client.post(url, json=QUESTION)).status_code)
        await asyncio.sleep(0.02)
