"""A controller that does not lead looks, tells, and changes nothing."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import httpx2
import pytest

from services.controller.api.forwarding import ToLeader
from services.controller.api.rest import rest_app
from services.controller.election.governor import Governor
from services.controller.election.leadership import Lead, Leader, Mandate, NotLeading
from services.core.errors import Unavailable
from services.core.rollouts.rollout import Phase
from services.core.rollouts.rollout_spec import RolloutSpec, Step
from services.core.rollouts.webhook import Occasion, Webhook
from services.core.route import Route
from tests.fakes.clock import FakeClock
from tests.fakes.control_plane import ControlPlane, FakeRepository
from tests.fakes.store import FakeStore
from tests.unit.controller.test_controller_grpc import Served, book

pytestmark = pytest.mark.anyio
SPEC = RolloutSpec("digits", 2, steps=(Step(10, 3, 20), Step(50, 3, 20)), max_step_duration_s=600)
WAIT_S = 20.0


class LedStore(FakeStore):
    """A store in which somebody has the lead."""

    leader: Leader | None = None

    async def lead(self) -> Lead:
        self._answer()
        return Lead(3, self.leader)


@asynccontextmanager
async def two_planes() -> AsyncIterator[tuple[ControlPlane, ControlPlane]]:
    """A leader and a follower over one store, one Triton and one repository."""
    store, repository = LedStore(), FakeRepository(digits=[1])
    async with ControlPlane(store, repository=repository) as leader:
        store.leader = Leader("leader", "leader:9000", "leader:9001")
        async with ControlPlane(store, leader.server, repository) as follower:
            follower.clock = leader.clock
            follower.mandate.end("it follows")
            follower.workers = []
            await leader.serve()
            yield leader, follower


async def test_a_follower_sees_what_the_leader_stores_at_its_next_tick_and_writes_nothing() -> None:
    async with two_planes() as (leader, follower):
        leader.repository.published["digits"] = [1, 2]
        rollout = await leader.operations.start(SPEC, "ada")
        loads = list(leader.server.loads)
        for _ in range(60):
            generation = leader.ledger.changed("digits")
            await follower.tick()
            assert follower.ledger.changed("digits") == generation
            assert follower.overview.routes()["routes"] == leader.overview.routes()["routes"]
            if (await leader.rollout(rollout.id)).phase.terminal:
                break
            assert follower.ledger.active["digits"].id == rollout.id
            before = len(leader.server.loads)
            await follower.tick()
            assert len(leader.server.loads) == before, "a follower loads nothing"
            await leader.tick()
        assert (await follower.operations.get(rollout.id)).phase is Phase.PROMOTED
        assert {record.instance for record in leader.store.records} == {leader.mandate.me.instance}
        assert len(leader.server.loads) > len(loads)


async def test_a_follower_refuses_verbs_and_says_who_leads() -> None:
    async with two_planes() as (_, follower):
        await follower.tick()
        with pytest.raises(NotLeading, match="follows leader, which is at leader:9000"):
            await follower.operations.start(SPEC, "ada")


async def test_a_follower_that_takes_over_goes_on_with_the_same_evidence_and_loses_no_answer() -> None:
    async with two_planes() as (leader, follower):
        leader.repository.published["digits"] = [1, 2]
        rollout = await leader.operations.start(RolloutSpec("digits", 2, steps=(Step(10, 1000, 20),)), "ada")
        await leader.tick(10)
        before = (await leader.rollout(rollout.id)).evidence.candidate.requests
        await follower.tick()
        leader.mandate.end("it was cut off")
        for worker in leader.workers:
            worker.answer("digits", 1000)  # while nobody leads
        workers, leader.workers = leader.workers, []
        follower.fleet.begin()
        follower.ledger.doubt()
        follower.mandate.grant(4, float("inf"))
        await follower.reconciler.tick()
        follower.workers = workers
        await follower.tick(3)
        await leader.tick(3)
        after = (await follower.rollout(rollout.id)).evidence.candidate.requests
        assert after - before == len(workers) * (100 + 3 * 10)
        assert follower.reconciler.ticks > leader.reconciler.ticks - 30


async def test_a_leader_that_was_deposed_without_knowing_decides_and_loads_nothing() -> None:
    async with two_planes() as (leader, _):
        leader.repository.published["digits"] = [1, 2]
        rollout = await leader.operations.start(SPEC, "ada")
        await leader.tick(3)
        before, route = await leader.rollout(rollout.id), leader.ledger.routes["digits"]
        leader.store.deposed = True
        await leader.tick(40)
        assert await leader.rollout(rollout.id) == before
        assert (await leader.store.book()).routes["digits"] == route


async def test_the_lead_is_held_no_longer_than_it_was_given_for() -> None:
    clock = FakeClock()
    mandate = Mandate(Leader("me", "here:9000", "here:9001"), clock)
    with pytest.raises(NotLeading, match="just started"):
        mandate.require()
    mandate.grant(7, clock() + 3.0)
    assert mandate.require() == 7
    clock.advance(2.0)
    mandate.extend(clock() + 3.0)
    clock.advance(2.9)
    before = mandate.held
    clock.advance(0.2)
    assert (before, mandate.held) == (True, False)
    with pytest.raises(NotLeading):
        mandate.require()


class ScriptedElection:
    """Is won and lost when it is told to."""

    def __init__(self) -> None:
        self.won = asyncio.Event()
        self.lost = asyncio.Event()
        self.resigned = 0

    async def win(self) -> tuple[int, float]:
        await self.won.wait()
        self.won.clear()
        return 5, float("inf")

    async def lose(self, extend: Callable[[float], None]) -> str:
        await self.lost.wait()
        self.lost.clear()
        return "the line was cut"

    async def resign(self) -> None:
        self.resigned += 1


async def test_whoever_begins_to_lead_begins_anew_and_whoever_ends_stops_at_once() -> None:
    election, said = ScriptedElection(), list[str]()
    mandate = Mandate(Leader("me", "here:9000", "here:9001"), FakeClock())
    governor = Governor(
        election,
        mandate,
        begins=(lambda: said.append(f"begin {mandate.held}"),),
        ends=(lambda: said.append(f"end {mandate.held}"),),
    )
    running = asyncio.create_task(governor.run())
    for round_ in (1, 2):
        election.won.set()
        while len(said) < 2 * round_ - 1:  # noqa: ASYNC110 - a callback without an event
            await asyncio.sleep(0)
        if round_ == 1:
            election.lost.set()
            while len(said) < 2:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
            assert "the line was cut" in mandate.refusal()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert said == ["begin True", "end False", "begin True", "end False"]
    assert election.resigned == 1


@asynccontextmanager
async def clients(
    leader: ControlPlane, follower: ControlPlane
) -> AsyncIterator[tuple[httpx2.AsyncClient, httpx2.AsyncClient]]:
    """Clients of both, the follower's with a way to the leader's."""
    app = leader.app(ToLeader(leader.mandate))
    other = follower.app(ToLeader(follower.mandate, transport=httpx2.ASGITransport(app)))
    async with (
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://leader") as one,
        httpx2.AsyncClient(transport=httpx2.ASGITransport(other), base_url="http://follower") as two,
    ):
        yield one, two


async def test_verbs_at_a_follower_are_done_by_the_leader_with_every_answer_of_its() -> None:
    async with two_planes() as (leader, follower), clients(leader, follower) as (_, client):
        leader.repository.published["digits"] = [1, 2]
        await follower.tick()
        body = {"model": "digits", "version": 2, "actor": "ada", "request_id": "r-1"}
        created = await client.post("/v1/rollouts", json=body)
        assert (created.status_code, created.headers["penstock-answered-by"]) == (201, "leader")
        assert (await client.get("/v1/rollouts/digits-1")).json()["phase"] == "preparing"
        refused = await client.post("/v1/rollouts", json={**body, "request_id": ""})
        assert (refused.status_code, "digits-1" in refused.json()["error"]) == (409, True)
        large = await client.post("/v1/rollouts", content=b" " * 2_000_000)
        assert large.status_code == 413
        aborted = await client.post("/v1/rollouts/digits-1/abort", json={"actor": "ada"})
        assert aborted.json()["phase"] == "aborted"
        assert (await client.get("/v1/leader")).json()["leader"]["instance"] == "leader"


BOARD = {"name": "board", "occasion": "confirm-rollout", "url": "http://board/x"}
SAID = "webhook board: http://board/x answered 403: not yet"


async def test_what_a_rollout_waits_for_is_told_by_a_follower_as_by_the_leader() -> None:
    async with two_planes() as (leader, follower), clients(leader, follower) as (direct, client):
        leader.repository.published["digits"] = [1, 2]
        leader.listeners.answers = {"board": 403}
        await follower.tick()
        await client.post("/v1/rollouts", json={"model": "digits", "version": 2, "webhooks": [BOARD]})
        await leader.tick(3)
        await follower.tick()
        for path in ("/v1/rollouts/digits-1/explanation", "/rollouts/digits-1", "/rollouts/digits-1/live"):
            here, there = await client.get(path), await direct.get(path)
            assert SAID in here.text, path
            assert here.text == there.text, path
            assert here.headers["penstock-answered-by"] == "leader"
        assert "penstock-answered-by" not in (await client.get("/v1/rollouts/digits-1")).headers
        assert (await client.get("/rollouts/digits-9", headers={"accept": "text/html"})).status_code == 404


@pytest.mark.parametrize("fault", ["nobody there", "silence", "an error of its own"])
async def test_without_the_leaders_answer_a_follower_says_that_only_the_leader_knows_and_who_it_is(fault: str) -> None:
    async with two_planes() as (leader, follower):
        leader.repository.published["digits"] = [1, 2]
        leader.listeners.answers = {"board": 403}
        gate = Webhook("board", Occasion.CONFIRM_ROLLOUT, "http://board/x")
        await leader.operations.start(replace(SPEC, webhooks=(gate,)), "ada")
        await leader.tick(3)
        await follower.tick()

        async def fail(request: httpx2.Request) -> httpx2.Response:
            if fault == "silence":
                await asyncio.Event().wait()
            if fault == "nobody there":
                raise httpx2.ConnectError("nobody there", request=request)
            return httpx2.Response(500)

        to_leader = ToLeader(follower.mandate, read_timeout_s=0.05, transport=httpx2.MockTransport(fail))
        transport = httpx2.ASGITransport(follower.app(to_leader))
        async with httpx2.AsyncClient(transport=transport, base_url="http://follower") as client:
            explained = await client.get("/v1/rollouts/digits-1/explanation")
            page = await client.get("/rollouts/digits-1")
        words = "only the controller that leads knows, and this controller follows leader, which is at leader:9000"
        assert explained.json()["lines"][0].startswith(f"Waits for webhooks, perhaps: {words}")
        assert words in page.text
        other = replace(await follower.rollout("digits-1"), spec=SPEC)
        assert follower.overview.waits(other) == [], "a rollout without webhooks waits for none"


async def test_a_form_of_a_followers_page_is_taken_by_the_leader_and_leads_to_the_rollout() -> None:
    async with two_planes() as (leader, follower), clients(leader, follower) as (_, client):
        leader.repository.published["digits"] = follower.repository.published["digits"] = [1, 2]
        await leader.tick()
        await follower.tick()
        page = await client.get("/models/digits")
        fields = dict(re.findall(r'name="([^"]+)"[^>]*? value="([^"]*)"', page.text))
        fields |= {"version": "2", "strategy": "canary", "on_inconclusive": "abort", "actor": "ada"}
        own, foreign = {"origin": "http://follower"}, {"origin": "http://elsewhere"}
        assert (await client.post("/models/digits", data=fields, headers=foreign)).status_code == 403
        posted = await client.post("/models/digits", data=fields, headers=own)
        assert (posted.status_code, posted.headers.get("location")) == (303, "/rollouts/digits-1"), posted.text
        assert "content-security-policy" in posted.headers
        assert posted.headers["penstock-answered-by"] == "leader"


async def test_a_verb_is_refused_where_nobody_leads_and_goes_round_no_circle() -> None:
    async with two_planes() as (leader, follower), clients(leader, follower) as (_, client):
        await follower.tick()
        leader.mandate.end("it was cut off")
        answer = await client.post("/v1/rollouts/digits-1/abort")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        assert "leader" in answer.json()["error"]


async def test_a_leader_that_does_not_answer_is_named() -> None:
    async with two_planes() as (_, follower):
        await follower.tick()

        def fail(request: httpx2.Request) -> httpx2.Response:
            raise httpx2.ConnectError("nobody there", request=request)

        to_leader = ToLeader(follower.mandate, transport=httpx2.MockTransport(fail))
        app = rest_app(follower.operations, follower.overview, follower.insight, follower.metrics, to_leader=to_leader)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://follower") as client:
            answer = await client.post("/v1/rollouts/digits-1/abort")
        assert answer.status_code == 503
        assert "leader:9000" in answer.json()["error"]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    await served.server.start()
    yield served
    served.board.close()
    await served.channel.close()
    await served.server.stop()


async def test_a_follower_takes_no_statistics_and_streams_no_routes(served: Served) -> None:
    served.board.publish(book(7, 5))
    served.mandate.end("it follows")
    for call in (served.watch().read(), served.report(instance="worker-1", sequence=1)):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "it follows" in (refusal.value.details() or "")
    assert served.fleet.live() == frozenset()


async def test_the_streams_of_a_leader_end_with_its_lead(served: Served) -> None:
    served.board.publish(book(7, 5))
    call = served.watch()
    async with asyncio.timeout(WAIT_S):
        assert (await call.read()).generation == 7
        served.mandate.end("its session ended")
        served.board.wake()
        with pytest.raises(grpc.aio.AioRpcError, match="its session ended"):
            await call.read()


async def test_without_its_database_a_follower_says_so() -> None:
    async with two_planes() as (_, follower):
        await follower.tick()
        follower.store.away = True
        await follower.tick()
        assert follower.overview.readiness()["ready"] is False
        with pytest.raises(Unavailable):
            await follower.operations.get("digits-1")
        assert follower.ledger.routes["digits"] == Route("digits", 1, versions=frozenset({1}))
