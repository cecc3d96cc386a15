"""An A/B test of real processes: two workers, a controller that is killed, feedback over connections of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest

from loadtest.controller_kills.controllers import publish
from loadtest.controller_kills.model_server import ModelServer
from services.core.errors import STATUS, Conflict, InvalidRequest, NotFound, Unavailable
from services.pb.penstock.v1 import outcomes_pb2, outcomes_pb2_grpc
from services.triton.http import HttpPool
from tests.fakes.gateway import in_loop, serving
from tests.fakes.gateway_process import GatewayProcess, gateway_process
from tests.fakes.running_controller import RunningController, running_controller

pytestmark = pytest.mark.integration

_REST = {STATUS[error].grpc: STATUS[error].http for error in (InvalidRequest, NotFound, Conflict, Unavailable)}
STABLE, CANDIDATE = 2, 1  # a controller begins with the latest version
INPUTS = [{"name": "image", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]


def experiment_of(min_lift: float) -> dict[str, Any]:
    return {
        "model": "digits",
        "version": CANDIDATE,
        "strategy": "ab",
        "steps": [{"weight_percent": 50, "duration_s": 1.0, "min_requests": 20}],
        "max_step_duration_s": 300.0,
        # The fake model multiplies by its version: its scores are meant to differ.
        "analysis": {"max_p99_ratio": 1000.0, "max_score_shift": None},
        "experiment": {"outcome": {"name": "clicked"}, "min_outcomes": 150, "min_lift": min_lift},
    }


class Client:
    """Asks and tells over a new connection each time, so that another worker may take it.

    Attributes:
        answered: The version that answered, by request id.
    """

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway
        self.answered: dict[str, int] = {}

    async def _post(self, path: str, document: object, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        pool = HttpPool("127.0.0.1", self._gateway.ports["REST"])
        try:
            reply = await pool.request("POST", path, headers or {}, [orjson.dumps(document)], 10.0)
            return reply.status, orjson.loads(reply.body)
        finally:
            await pool.aclose()

    async def ask(self, request_id: str, key: str) -> int:
        """Send one request, and return the version that answered."""
        body = {"id": request_id, "inputs": INPUTS}
        status, answer = await self._post("/v2/models/digits/infer", body, {"penstock-routing-key": key})
        assert status == 200, answer
        self.answered[request_id] = int(answer["model_version"])
        return self.answered[request_id]

    async def tell(self, *items: dict[str, Any]) -> tuple[int, Any]:
        """Tell of outcomes."""
        return await self._post("/v2/models/digits/feedback", list(items))


class GrpcTeller(Client):
    """Asks over REST and tells over gRPC; statuses are those that REST has for the same refusals."""

    async def tell(self, *items: dict[str, Any]) -> tuple[int, Any]:
        """Tell of outcomes."""
        feedback = [outcomes_pb2.RequestFeedback(**item) for item in items]
        request = outcomes_pb2.SendFeedbackRequest(model="digits", feedback=feedback)
        address = f"127.0.0.1:{self._gateway.ports['gRPC']}"
        # Without a pool of its own it would take the connection of the channel before.
        async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                answer = await outcomes_pb2_grpc.OutcomeServiceStub(channel).SendFeedback(request, timeout=10.0)
            except grpc.aio.AioRpcError as error:
                return _REST[error.code().value[0]], {"error": error.details()}
        return 200, {"results": [{"result": one.result} for one in answer.results]}


async def phase_of(controller: RunningController, *phases: str) -> dict[str, Any]:
    """Return the rollout once it is in one of these phases."""

    def wait() -> dict[str, Any]:
        found: dict[str, Any] = controller.until("/v1/rollouts/digits-1", lambda it: it.get("phase") in phases)
        return found

    return await asyncio.to_thread(wait)


async def both_have_the_table(controller: RunningController) -> None:
    """Wait until both workers say that they serve with the present route."""
    await asyncio.to_thread(controller.until, "/v1/routes", lambda it: len(it["workers"]) == 2 and not it["lagging"])


async def told(client: Client, *items: dict[str, Any]) -> tuple[int, Any]:
    """Tell again while it is 503: a worker may find a controller that came back later than its sibling does."""
    for _ in range(200):
        status, answer = await client.tell(*items)
        if status != 503:
            return status, answer
        await asyncio.sleep(0.1)
    raise AssertionError("the controller never took the outcomes")


async def told_at_last(client: Client, *items: dict[str, Any]) -> Any:
    """Tell until it is stored."""
    status, answer = await told(client, *items)
    assert status == 200, answer
    return answer


@pytest.mark.parametrize(
    ("teller", "rates", "min_lift", "words"),
    [
        (Client, {STABLE: 20, CANDIDATE: 90}, 0.02, f"version {CANDIDATE} wins"),
        (Client, {STABLE: 60, CANDIDATE: 60}, 0.9, "no arm wins"),
        (GrpcTeller, {STABLE: 20, CANDIDATE: 90}, 0.02, f"version {CANDIDATE} wins"),
    ],
    ids=["lift", "none", "lift, told over gRPC"],
)
@in_loop
async def test_feedback_leads_to_the_right_verdict_and_counts_once_over_a_kill(
    teller: type[Client], rates: dict[int, int], min_lift: float, words: str, tmp_path: Path
) -> None:
    publish(tmp_path / "repository", ["digits"])
    (tmp_path / "gateway").mkdir()
    with (
        ModelServer() as models,
        running_controller(tmp_path / "repository", models.address, tmp_path / "controller") as controller,
    ):
        async with (
            serving() as triton,
            gateway_process(tmp_path / "gateway", triton.gateway.http_port, controller.grpc_port) as gateway,
        ):
            await gateway.announced()
            client = teller(gateway)
            await asyncio.to_thread(controller.until, "/v1/models/digits", lambda it: it.get("stable") == STABLE)
            await both_have_the_table(controller)
            status, answer = await client.tell({"id": "none", "model_version": STABLE, "outcomes": {"clicked": 1}})
            assert status == 409, answer
            started = await asyncio.to_thread(controller.post, "/v1/rollouts", experiment_of(min_lift))
            assert started.status_code == 201, started.text
            await phase_of(controller, "progressing")
            await both_have_the_table(controller)

            def item(request_id: str) -> dict[str, Any]:
                good = int(request_id.removeprefix("r")) * 37 % 100 < rates[client.answered[request_id]]
                return {"id": request_id, "outcomes": {"clicked": int(good)}}

            # The same keys over and over: each meets the same version every time.
            for number in range(200):
                version = await client.ask(f"r{number}", f"user-{number % 50}")
                assert version == client.answered.get(f"r{number % 50}", version)
            first = [item(f"r{number}") for number in range(200)]
            taken = await told_at_last(client, *first)
            assert {each["result"] for each in taken["results"]} == {"stored"}
            status, answer = await told(client, {"id": "never", "outcomes": {"clicked": 1}})
            assert status == 404, answer
            assert "model_version" in answer["error"]
            status, answer = await told(client, {"id": "r1", "outcomes": {"bought": 1}})
            assert status == 400, answer

            controller.kill()
            status, answer = await client.tell(*first)
            assert status == 503, answer
            controller.start_again()
            again = await told_at_last(client, *first)
            assert {each["result"] for each in again["results"]} == {"repeated"}
            conflicting = {**first[0], "outcomes": {"clicked": 1 - first[0]["outcomes"]["clicked"]}}
            assert (await told_at_last(client, conflicting))["results"][0]["result"] == "conflicting"

            for begin in range(200, 2_000, 200):
                for number in range(begin, begin + 200):
                    await client.ask(f"r{number}", f"user-{number}")
                outcomes = [item(f"r{number}") for number in range(begin, begin + 200)]
                status, answer = await told(client, *outcomes)
                if status in {404, 409}:  # it was decided meanwhile, and a worker may not know that yet
                    await phase_of(controller, "concluding", "concluded")
                    break
                assert status == 200, answer
                known = begin + 200
            assert await gateway.metric("penstock_feedback_total", model="digits", result="stored") >= known
            assert await gateway.metric("penstock_feedback_total", model="digits", result="conflicting") == 1
            ended = await phase_of(controller, "concluded")
            assert words in ended["reason"]
            counted = {int(version): each["outcomes"] for version, each in ended["evidence"]["outcomes"].items()}
            versions = [client.answered[f"r{number}"] for number in range(known)]
            for version in (STABLE, CANDIDATE):
                # All that were told, or those up to the verdict; never more.
                assert 150 <= counted[version] <= versions.count(version)
            assert sum(counted.values()) % 200 == 0
