"""Rollouts over gRPC are the rollouts of REST: the same documents, errors, repeated requests and forwarding."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx2
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from services.controller.api.grpc_server import GrpcServer, Services
from services.controller.api.grpc_services import FeedbackService, RouteService, StatisticsService
from services.controller.api.rollout_service import MAX_REQUEST_BYTES
from services.controller.election.leadership import Lead, Leader
from services.controller.feedback import FeedbackIntake
from services.pb.penstock.v1 import rollouts_pb2 as pb
from services.pb.penstock.v1 import rollouts_pb2_grpc
from tests.fakes.control_plane import ControlPlane, FakeRepository

pytestmark = pytest.mark.anyio
WAIT_S = 20.0
# Nothing here is a default.
SPEC: dict[str, Any] = {
    "model": "digits",
    "version": 2,
    "strategy": "canary",
    "steps": [
        {"weight_percent": 10, "duration_s": 3.0, "min_requests": 20, "mirror_percent": 5},
        {"weight_percent": 50, "duration_s": 4.0, "min_requests": 30, "mirror_percent": 0},
    ],
    "analysis": {
        "max_error_increase": 0.02,
        "max_stable_error": 0.2,
        "max_p99_ratio": 2.0,
        "p99_floor_s": 0.25,
        "slow_s": 0.5,
        "max_slow_increase": 0.03,
        "max_prediction_shift": 0.5,
        "max_disagreement": 0.04,
        "false_rollback_bound": 0.02,
        "false_promotion_bound": 0.06,
        "max_score_shift": 0.3,
        "max_non_finite_increase": 0.05,
    },
    "max_step_duration_s": 600.0,
    "on_inconclusive": "pause",
    "copies": {
        "floor_percent": 10,
        "slice_key": "tenant",
        "relative_tolerance": 0.01,
        "absolute_tolerance": 0.001,
        "scores": True,
    },
    "experiment": None,
    "memory": {
        "reserve": 0.2,
        "on_unknown": "refuse",
        "leak_check": "off",
        "max_growth_mib_per_h": 32.0,
        "max_growth_share_per_h": 0.2,
        "window_s": 900.0,
        "interval_s": 5.0,
    },
    "metrics": [
        {
            "name": "clicks",
            "query": "sum(clicks)",
            "at_most": 5.0,
            "at_least": 0.0,
            "interval_s": 2.0,
            "count": 2,
            "failure_limit": 1,
            "consecutive_error_limit": 3,
        }
    ],
    "webhooks": [
        {
            "name": "told",
            "occasion": "event",
            "url": "http://told.example/",
            "timeout_s": 2.0,
            "retries": 1,
            "interval_s": 5.0,
            "metadata": {"team": "vision"},
        }
    ],
}
QUICK = pb.RolloutSpec(model="digits", version=2, steps=[pb.Step(weight_percent=10, duration_s=3, min_requests=20)])


class Served:
    """A controller on fakes behind a real gRPC server, and a client."""

    def __init__(self, world: ControlPlane, **bounds: Any) -> None:
        self.world = world
        self.service = world.rollouts(**bounds)
        services = Services(
            RouteService(world.board, world.mandate),
            StatisticsService(world.fleet, world.board, world.mandate),
            FeedbackService(FeedbackIntake(world.ledger, world.mandate)),
            self.service,
        )
        self.server = GrpcServer(services, "127.0.0.1", 0)
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.server.port}")
        self.stub = rollouts_pb2_grpc.RolloutServiceStub(self.channel)

    async def call(self, method: str, request: Message) -> Any:
        return await getattr(self.stub, method)(request, timeout=WAIT_S)

    async def refusal(self, method: str, request: Message) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.call(method, request)
        return error.value.code(), error.value.details() or ""

    async def start(self, **more: str) -> Any:
        return await self.call("StartRollout", pb.StartRolloutRequest(spec=QUICK, actor="ada", **more))

    async def rest(self, method: str, path: str, document: object = None) -> httpx2.Response:
        transport = httpx2.ASGITransport(app=self.world.app())
        async with httpx2.AsyncClient(transport=transport, base_url="http://controller") as client:
            return await client.request(method, path, json=document)


@asynccontextmanager
async def serving(**bounds: Any) -> AsyncIterator[Served]:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2]
        served = Served(world, **bounds)
        await served.server.start()
        try:
            yield served
        finally:
            world.feed.close()
            await served.channel.close()
            await served.server.stop()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as served:
        yield served


def expect_same(document: Mapping[str, Any], message: Message) -> None:
    """Compare a REST document with a message, field by field and without the service's own conversion."""
    fields = message.DESCRIPTOR.fields_by_name
    assert set(document) == set(fields), message.DESCRIPTOR.full_name
    for name, expected in document.items():
        value, kind = getattr(message, name), fields[name].message_type
        where = f"{message.DESCRIPTOR.full_name}.{name}"
        if kind is not None and kind.full_name == "google.protobuf.Value":
            assert json_format.MessageToDict(value) == expected, where
        elif expected is None:
            assert not message.HasField(name), where
        elif kind is not None and kind.full_name == "google.protobuf.Struct":
            assert json_format.MessageToDict(value) == expected, where
        elif kind is not None and kind.GetOptions().map_entry:
            assert dict(value) == expected, where
        elif kind is not None and isinstance(expected, list):
            assert len(value) == len(expected), where
            for each, one in zip(expected, value, strict=True):
                expect_same(each, one)
        elif kind is not None:
            expect_same(expected, value)
        elif isinstance(expected, list):
            assert list(value) == expected, where
        else:
            assert value == expected, where


async def test_the_same_specification_begins_the_same_rollout_by_rest_and_by_grpc() -> None:
    async with serving() as one, serving() as other:
        by_rest = await one.rest("POST", "/v1/rollouts", {**SPEC, "actor": "ada"})
        assert by_rest.status_code == 201, by_rest.text
        request = pb.StartRolloutRequest(spec=json_format.ParseDict(SPEC, pb.RolloutSpec()), actor="ada")
        by_grpc = await other.call("StartRollout", request)
        assert by_rest.json()["spec"] == SPEC, "the whole specification has its fields here, and none is a default"
        expect_same(by_rest.json(), by_grpc)


async def test_what_is_left_out_has_the_defaults_of_rest() -> None:
    async with serving() as one, serving() as other:
        by_rest = await one.rest("POST", "/v1/rollouts", {"model": "digits", "version": 2})
        request = pb.StartRolloutRequest(spec=pb.RolloutSpec(model="digits", version=2))
        expect_same(by_rest.json(), await other.call("StartRollout", request))


async def test_an_ab_test_is_the_same_by_both() -> None:
    experiment = {
        "outcome": {"name": "spent", "kind": "value", "low": 1.0, "high": 500.0, "better": "lower"},
        "arms": [{"version": 3, "weight_percent": 20}],
        "min_lift": 0.03,
        "significance": 0.01,
        "min_outcomes": 300,
        "on_win": "promote",
    }
    document = {"model": "digits", "version": 2, "strategy": "ab", "experiment": experiment}
    async with serving() as one, serving() as other:
        for served in (one, other):
            served.world.repository.published["digits"] = [1, 2, 3]
        by_rest = await one.rest("POST", "/v1/rollouts", document)
        assert by_rest.json()["spec"]["experiment"] == experiment
        request = pb.StartRolloutRequest(spec=json_format.ParseDict(document, pb.RolloutSpec()))
        expect_same(by_rest.json(), await other.call("StartRollout", request))


async def test_null_is_told_from_what_is_left_out() -> None:
    async with serving() as one, serving() as other:
        document = {"model": "digits", "version": 2, "analysis": {"max_score_shift": None}}
        by_rest = await one.rest("POST", "/v1/rollouts", document)
        request = pb.StartRolloutRequest(spec=json_format.ParseDict(document, pb.RolloutSpec()))
        by_grpc = await other.call("StartRollout", request)
        assert by_rest.json()["spec"]["analysis"]["max_score_shift"] is None
        expect_same(by_rest.json(), by_grpc)


async def test_every_reading_call_says_what_rest_says(served: Served) -> None:
    rollout = await served.start(request_id="r-1")
    await served.refusal("Resume", pb.VerbRequest(id=rollout.id, actor="eve"))
    await served.world.tick(20)
    asked = pb.GetRolloutRequest(id=rollout.id)
    pairs = (
        (f"/v1/rollouts/{rollout.id}", "GetRollout", asked),
        ("/v1/rollouts?model=digits&limit=5", "ListRollouts", pb.ListRolloutsRequest(model="digits", limit=5)),
        (f"/v1/rollouts/{rollout.id}/history", "GetHistory", asked),
        (f"/v1/rollouts/{rollout.id}/explanation", "ExplainRollout", asked),
        ("/v1/audit?limit=3", "ListAudit", pb.ListAuditRequest(limit=3)),
        ("/v1/audit?actor=eve", "ListAudit", pb.ListAuditRequest(actor="eve")),
    )
    for path, method, request in pairs:
        document = (await served.rest("GET", path)).json()
        expect_same(document, await served.call(method, request))
    plan = await served.rest("POST", "/v1/plans", {"model": "digits", "version": 2})
    expect_same(plan.json(), await served.call("PlanRollout", pb.RolloutSpec(model="digits", version=2)))


async def test_older_audit_records_follow_where_the_newer_ones_ended(served: Served) -> None:
    rollout = await served.start()
    await served.world.tick(20)
    whole = (await served.call("ListAudit", pb.ListAuditRequest(rollout=rollout.id))).audit
    found, place = [], None
    while True:
        page = await served.call("ListAudit", pb.ListAuditRequest(rollout=rollout.id, limit=2, before=place))
        found += page.audit
        if not page.HasField("more"):
            break
        place = page.more
    assert found == list(whole)
    assert len(found) > 3


async def test_verbs_steer_and_a_request_is_done_once(served: Served) -> None:
    rollout = await served.start(request_id="begin")
    assert (await served.start(request_id="begin")).id == rollout.id
    await served.world.tick(4)
    asked = pb.VerbRequest(id=rollout.id, actor="bob", reason="a look", request_id="hold")
    assert (await served.call("Pause", asked)).phase == "paused"
    assert (await served.call("Resume", pb.VerbRequest(id=rollout.id, actor="bob"))).phase == "progressing"
    assert (await served.call("Pause", asked)).phase == "progressing", "it was done before, and is not done again"
    assert (await served.call("Promote", pb.VerbRequest(id=rollout.id))).phase == "promoting"
    code, words = await served.refusal("Abort", pb.VerbRequest(id=rollout.id))
    assert (code, "promoting" in words) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    history = await served.call("GetHistory", pb.GetRolloutRequest(id=rollout.id))
    [paused] = [line for line in history.history if line.event == "pause"]
    assert (paused.actor, paused.reason.endswith("a look")) == ("bob", True)


async def test_errors_have_the_words_of_rest_and_the_right_status(served: Served) -> None:
    await served.start()
    second = await served.refusal("StartRollout", pb.StartRolloutRequest(spec=QUICK))
    assert second[0] is grpc.StatusCode.FAILED_PRECONDITION
    rest = await served.rest("POST", "/v1/rollouts", {"model": "digits", "version": 2})
    assert second[1] == rest.json()["error"]
    assert "digits-1" in second[1]
    wrong = (
        ("GetRollout", pb.GetRolloutRequest(id="digits-9"), grpc.StatusCode.NOT_FOUND, "digits-9"),
        ("Abort", pb.VerbRequest(id="digits-9"), grpc.StatusCode.NOT_FOUND, "digits-9"),
        ("WatchRollout", pb.GetRolloutRequest(id="digits-9"), grpc.StatusCode.NOT_FOUND, "digits-9"),
        ("StartRollout", pb.StartRolloutRequest(), grpc.StatusCode.INVALID_ARGUMENT, "model: Field required"),
        ("PlanRollout", pb.RolloutSpec(model="x"), grpc.StatusCode.INVALID_ARGUMENT, "version: Field required"),
        ("Abort", pb.VerbRequest(id="digits-1", actor="a" * 201), grpc.StatusCode.INVALID_ARGUMENT, "actor"),
        ("ListRollouts", pb.ListRolloutsRequest(limit=0), grpc.StatusCode.INVALID_ARGUMENT, "limit is 0"),
        ("ListAudit", pb.ListAuditRequest(before=2**31), grpc.StatusCode.INVALID_ARGUMENT, "before"),
        (
            "StartRollout",
            pb.StartRolloutRequest(spec=pb.RolloutSpec(model="m" * 129, version=2)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "at most 128 characters",
        ),
        ("Abort", pb.VerbRequest(id="x" * 100_000), grpc.StatusCode.NOT_FOUND, "no rollout"),
        (
            "Abort",
            pb.VerbRequest(id="digits-1", reason="x" * MAX_REQUEST_BYTES),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "bytes",
        ),
    )
    for method, request, code, part in wrong:
        if method == "WatchRollout":
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await served.stub.WatchRollout(request, timeout=WAIT_S).read()
            found = error.value.code(), error.value.details() or ""
        else:
            found = await served.refusal(method, request)
        assert found[0] is code, (method, found)
        assert part in found[1], (method, found)
    served.world.store.away = True
    code, _ = await served.refusal("GetRollout", pb.GetRolloutRequest(id="digits-1"))
    assert code is grpc.StatusCode.UNAVAILABLE


async def test_a_watch_tells_every_state_and_ends_with_the_rollout(served: Served) -> None:
    rollout = await served.start()
    call = served.stub.WatchRollout(pb.GetRolloutRequest(id=rollout.id), timeout=WAIT_S)
    states = aiter(call)
    first = await anext(states)
    assert (first.rollout.id, first.rollout.phase, first.serving.workers) == (rollout.id, "preparing", 2)

    async def drive() -> None:
        for _ in range(60):
            await served.world.tick()
            await served.world.events.look()
            await asyncio.sleep(0.002)  # the stream takes its turn

    driving = asyncio.create_task(drive())
    told = [state async for state in states]
    await driving
    assert told[-1].rollout.phase == "promoted"
    assert not told[-1].rollout.active
    assert {state.rollout.weight_percent for state in told} >= {10, 100}
    assert await call.code() is grpc.StatusCode.OK
    again = [state async for state in served.stub.WatchRollout(pb.GetRolloutRequest(id=rollout.id), timeout=WAIT_S)]
    assert [state.rollout.phase for state in again] == ["promoted"]
    assert (served.world.feed.subscribers, served.service.watchers) == (0, 0)


async def test_a_watch_ends_with_a_rollout_that_began_and_ended_between_two_looks(served: Served) -> None:
    rollout = await served.start()
    states = aiter(served.stub.WatchRollout(pb.GetRolloutRequest(id=rollout.id), timeout=WAIT_S))
    assert (await anext(states)).rollout.active
    await served.call("Abort", pb.VerbRequest(id=rollout.id))
    await served.world.tick(20)
    await served.world.events.look()
    assert [state.rollout.phase async for state in states] == ["aborted"]


async def test_watches_are_bounded_and_end_with_the_controller() -> None:
    async with serving(max_watchers=1) as served:
        rollout = await served.start()
        asked = pb.GetRolloutRequest(id=rollout.id)
        first = served.stub.WatchRollout(asked, timeout=WAIT_S)
        await first.read()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await served.stub.WatchRollout(asked, timeout=WAIT_S).read()
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()
        async with asyncio.timeout(WAIT_S):
            while served.service.watchers:  # noqa: ASYNC110 - the end of a stream is not announced
                await asyncio.sleep(0.01)
        assert served.world.feed.subscribers == 0
        second = served.stub.WatchRollout(asked, timeout=WAIT_S)
        await second.read()
        served.world.feed.close()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await second.read()
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "watch again" in (error.value.details() or "")


async def test_a_follower_passes_verbs_on_and_reads_by_itself(served: Served) -> None:
    leader = Leader("leader", "127.0.0.1:1", f"127.0.0.1:{served.server.port}")
    async with ControlPlane(served.world.store, served.world.server, served.world.repository) as world:
        await world.tick()
        world.mandate.end("it follows")
        world.mandate.seen = Lead(3, leader)
        follower = Served(world)
        await follower.server.start()
        try:
            started = await follower.start()
            assert (await follower.call("GetRollout", pb.GetRolloutRequest(id=started.id))).candidate == 2
            call = follower.stub.Abort(pb.VerbRequest(id=started.id, actor="bob"), timeout=WAIT_S)
            assert (await call).phase in {"aborting", "aborted"}
            assert ("penstock-answered-by", "leader") in tuple(await call.trailing_metadata())
            code, words = await follower.refusal("Promote", pb.VerbRequest(id=started.id))
            assert (code, started.id in words) == (grpc.StatusCode.FAILED_PRECONDITION, True)
            records = served.world.store.records
            assert {record.instance for record in records} == {served.world.mandate.me.instance}

            rollout = pb.GetRolloutRequest(id=started.id)
            explained = follower.stub.ExplainRollout(rollout, timeout=WAIT_S)
            lines = (await explained).lines
            assert ("penstock-answered-by", "leader") in tuple(await explained.trailing_metadata())

            world.mandate.seen = Lead(4, Leader("itself", "127.0.0.1:1", f"127.0.0.1:{follower.server.port}"))
            code, words = await follower.refusal("Abort", pb.VerbRequest(id=started.id))
            assert (code, "follows itself" in words) == (grpc.StatusCode.UNAVAILABLE, True), "one hop, no circle"
            world.mandate.seen = Lead(5, Leader("gone", "127.0.0.1:1", "127.0.0.1:1"))
            code, words = await follower.refusal("Abort", pb.VerbRequest(id=started.id))
            assert (code, "could not be asked" in words) == (grpc.StatusCode.UNAVAILABLE, True)
            assert (await follower.call("ExplainRollout", rollout)).lines == lines, "what is read needs no leader"
            world.mandate.seen = Lead()
            code, words = await follower.refusal("Abort", pb.VerbRequest(id=started.id))
            assert (code, "no controller leads" in words) == (grpc.StatusCode.UNAVAILABLE, True)
        finally:
            world.feed.close()
            await follower.channel.close()
            await follower.server.stop()
