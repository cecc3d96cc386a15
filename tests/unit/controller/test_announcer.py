"""What happened is told at least once, in order, by the controller that leads; whoever is silent delays nobody else."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from services.controller.election.leadership import Leader, Mandate
from services.controller.webhooks.announcer import Announcer
from services.controller.webhooks.caller import DELIVERY_HEADER, WebhookCaller
from services.controller.webhooks.hosts import AllowedHosts
from services.core.rollouts.history import beginning
from services.core.rollouts.rollout import Phase, Rollout, new_rollout
from services.core.rollouts.rollout_spec import RolloutSpec, Step
from services.core.rollouts.webhook import Occasion, Webhook
from tests.fakes.audit_records import record_of
from tests.fakes.clock import FakeClock
from tests.fakes.control_plane import ControlPlane, FakeRepository
from tests.fakes.kill_switch import Killed, KillSwitch
from tests.fakes.listeners import FakeListeners
from tests.fakes.store import FakeStore

pytestmark = pytest.mark.anyio
STEPS = (Step(10, 2, 20), Step(50, 2, 20))


def hook(name: str, occasion: Occasion = Occasion.EVENT, retries: int = 3) -> Webhook:
    return Webhook(name, occasion, f"http://{name}/hook", retries=retries, timeout_s=20.0)


class Office:
    """An announcer alone with its store, and services that answer when they are let.

    Attributes:
        silent: Hosts that take a call and do not answer it.
        defects: Hosts whose calls meet a defect of ours.
        calls: Host and delivery of every call that began.
        open: Calls that wait for an answer, by host.
    """

    def __init__(self, store: FakeStore | None = None) -> None:
        self.store, self.clock = store or FakeStore(), FakeClock()
        self.silent: set[str] = set()
        self.defects: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        self.open: dict[str, int] = {}
        self.mandate = Mandate(Leader("me", "here:9000", "here:9001"), self.clock, epoch=0)
        self.caller = WebhookCaller(
            "", self.clock, AllowedHosts(("*",), FakeListeners().resolve), httpx2.MockTransport(self._answer)
        )
        self.announcer = Announcer(self.caller, self.store, self.mandate, self.clock, look_s=0.05)

    async def begin(self, model: str, *webhooks: Webhook) -> Rollout:
        rollout = new_rollout(RolloutSpec(model, 2, steps=STEPS, webhooks=webhooks), 1, self.clock())
        return await self.store.create(rollout, beginning(rollout, "ada"), record_of(model=model))

    def to(self, host: str) -> list[str]:
        """Return the deliveries that were sent to a host."""
        return [delivery for called, delivery in self.calls if called == host]

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host
        self.calls.append((host, request.headers[DELIVERY_HEADER]))
        if host in self.defects:
            raise RuntimeError("nobody thought of this")
        self.open[host] = self.open.get(host, 0) + 1
        try:
            while host in self.silent:  # noqa: ASYNC110 - a test changes it at any time
                await asyncio.sleep(0.01)
        finally:
            self.open[host] -= 1
        return httpx2.Response(200)


@asynccontextmanager
async def opened(store: FakeStore | None = None) -> AsyncIterator[Office]:
    office = Office(store)
    async with office.announcer:
        yield office
    await office.caller.aclose()


async def until(holds: Any) -> None:
    async with asyncio.timeout(5.0):
        while not holds():  # noqa: ASYNC110 - what others do is looked at
            await asyncio.sleep(0.005)


async def test_one_that_is_silent_delays_no_other_however_much_it_is_to_be_told() -> None:
    async with opened() as office:
        office.silent = {"silent"}
        for number in range(200):
            await office.begin(f"first{number:03}", hook("silent"))
        await office.begin("last", hook("good"), hook("silent"))
        await office.announcer.look()
        await until(lambda: office.to("good") == ["last-1/good/g1"])
        await office.announcer.look()
        assert (office.announcer.under_way, office.open["silent"]) == (2, 2)
        office.silent = set()
        while office.announcer.waiting:
            await office.announcer.look()
            await office.announcer.idle()
        assert sorted(office.to("silent")) == sorted(
            [
                *(f"first{number:03}-1/silent/g1" for number in range(200)),
                "last-1/silent/g1",
            ]
        )


async def test_calls_at_once_are_bounded() -> None:
    async with opened() as office:
        office.silent = {f"silent{number}" for number in range(40)}
        for number in range(40):
            for model in ("one", "two"):
                await office.begin(f"{model}{number}", hook(f"silent{number}"))
        await office.announcer.look()
        await until(lambda: len(office.calls) == 64)
        await office.announcer.look()
        assert office.announcer.under_way == 64


async def test_one_that_is_told_slowly_is_told_in_order() -> None:
    async with opened() as office:
        office.silent = {"slow"}
        rollout = await office.begin("digits", hook("slow"))
        for _ in range(3):
            rollout = await office.store.save(rollout, beginning(rollout, "ada"))
        for told in range(1, 5):
            await office.announcer.look()
            await until(lambda: office.open.get("slow"))
            await office.announcer.look()
            assert office.to("slow") == [f"digits-1/slow/g{each}" for each in range(1, told + 1)]
            office.silent = set()
            await office.announcer.idle()
            office.silent = {"slow"}
        assert (await office.store.undelivered(rollout.id)) == []


async def test_it_runs_by_itself_and_leaves_nothing_behind() -> None:
    async with opened() as office:
        office.silent = {"silent"}
        running = asyncio.create_task(office.announcer.run())
        await office.begin("digits", hook("silent"), hook("good"))
        office.announcer.wake()
        await until(lambda: office.to("good") and office.to("silent"))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await office.announcer.__aexit__(None, None, None)
        assert (office.announcer.under_way, office.open["silent"]) == (0, 0)
        assert [untold.webhook for untold in await office.store.undelivered("digits-1")] == ["silent"]


async def test_one_that_lost_the_lead_sends_and_marks_nothing_and_the_next_sends_the_same() -> None:
    async with opened() as first:
        first.silent = {"chat"}
        rollout = await first.begin("digits", hook("chat"))
        await first.announcer.look()
        await until(lambda: first.open.get("chat"))
        first.mandate.end("another controller leads")
        first.announcer.drop()
        await first.announcer.idle()
        first.silent = set()
        first.announcer.wake()
        await first.announcer.look()
        await first.announcer.idle()
        assert (first.to("chat"), first.announcer.waiting) == (["digits-1/chat/g1"], 0)
        assert len(await first.store.undelivered(rollout.id)) == 1
        async with opened(first.store) as second:
            await second.announcer.look()
            await second.announcer.idle()
            assert second.to("chat") == first.to("chat")
        assert await first.store.undelivered(rollout.id) == []


async def test_one_that_is_deposed_between_the_answer_and_its_mark_marks_nothing() -> None:
    async with opened() as office:
        office.silent = {"chat"}
        await office.begin("digits", hook("chat"))
        await office.announcer.look()
        await until(lambda: office.open.get("chat"))
        office.store.deposed = True
        office.silent = set()
        await office.announcer.idle()
        await office.announcer.look()
        assert office.announcer.under_way == 0
        assert len(await office.store.undelivered("digits-1")) == 1
        assert len(office.calls) == 1


async def test_one_whose_lead_ended_before_the_call_began_does_not_call() -> None:
    async with opened() as office:
        await office.begin("digits", hook("chat"))
        await office.announcer.look()
        office.mandate.end("its time is over")
        await office.announcer.idle()
        assert office.calls == []


async def test_what_was_delivered_is_not_told_again_while_that_cannot_be_stored() -> None:
    async with opened() as office:
        office.silent = {"chat"}
        await office.begin("digits", hook("chat"))
        await office.announcer.look()
        await until(lambda: office.open.get("chat"))
        office.store.away = True
        office.silent = set()
        await asyncio.sleep(0.2)
        assert await office.announcer.look() == 0.05
        office.store.away = False
        await office.announcer.idle()
        await office.announcer.look()
        assert office.calls == [("chat", "digits-1/chat/g1")]
        assert office.announcer.waiting == 0


async def test_a_call_that_meets_a_defect_counts_as_an_attempt(caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as office:
        office.defects = {"chat"}
        await office.begin("digits", hook("chat", retries=1))
        for _ in range(3):
            await office.announcer.look()
            await office.announcer.idle()
        assert office.to("chat") == ["digits-1/chat/g1"], "it is put off like any other"
        office.clock.advance(2.0)
        await office.announcer.look()
        await office.announcer.idle()
        [untold] = await office.store.undelivered("digits-1")
        assert untold.problem == "a defect of the controller (RuntimeError: nobody thought of this)"
        assert untold.gave_up_at is not None
        assert "met a defect" in caplog.text


async def test_one_that_never_answers_well_is_given_up_where_everybody_sees_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        world.listeners.answers = {"chat": 500}
        await world.serve()
        world.repository.published["digits"] = [1, 2]
        spec = RolloutSpec("digits", 2, steps=STEPS, webhooks=(hook("chat", retries=1), hook("mail")))
        rollout = await world.operations.start(spec, "ada")
        await world.tell()
        assert b"penstock_rollout_notices_waiting 1.0" in world.metrics.text()
        lines, _ = await world.insight.explain(rollout.id)
        assert lines[-2] == "Webhooks that were not told:"
        assert lines[-1] == (
            "Webhook chat is still to be told of 1 change, the first to 'preparing'; failed attempts: 1; next in 2 s; "
            "http://chat/hook answered 500: not yet."
        )
        world.clock.advance(2.0)
        with caplog.at_level(logging.WARNING):
            await world.tell()
        assert "delivery digits-1/chat/g1 is given up, attempt 2: http://chat/hook answered 500" in caplog.text
        assert b"penstock_rollout_notices_given_up_total 1.0" in world.metrics.text()
        world.listeners.answers = {}
        await world.tick(40)
        assert (await world.rollout(rollout.id)).phase is Phase.PROMOTED
        told = [body["phase"] for body in world.listeners.of("chat")]
        assert told == [*["preparing"] * 2, "warming", *["progressing"] * 2, "promoting", "promoted"]
        lines, _ = await world.insight.explain(rollout.id)
        assert lines[-1] == (
            "Webhook chat was not told of 1 change, the last to 'preparing'; given up; failed attempts: 2; "
            "http://chat/hook answered 500: not yet."
        )
        assert b"penstock_rollout_notices_waiting 0.0" in world.metrics.text()


async def ended(switch: KillSwitch) -> tuple[list[str], list[str]]:
    """Take a rollout to its end, and return the phases of its history, and the deliveries that were told in order."""
    async with ControlPlane(repository=FakeRepository(digits=[1]), switch=switch) as world:
        world.listeners.answers = {"chat": 503}
        await world.tick(14)
        world.repository.published["digits"] = [1, 2]
        spec = RolloutSpec("digits", 2, steps=STEPS, max_step_duration_s=60, webhooks=(hook("chat", retries=9),))
        for _ in range(2):
            try:
                await world.operations.start(spec, "ada", "begin")
            except Killed:
                await world.restart()
                await world.tick()
        for tick in range(120):
            if tick == 30:
                world.listeners.answers = {}
            await world.tick()
        [rollout] = await world.store.find("digits")
        assert rollout.phase is Phase.PROMOTED
        assert await world.store.undelivered(rollout.id) == []
        bodies = list({body["delivery"]: body for body in world.listeners.of("chat")}.values())
        ids = [headers[DELIVERY_HEADER] for headers in world.listeners.headers]
        assert ids == [body["delivery"] for body in world.listeners.of("chat")]
        assert len({json.dumps(body, sort_keys=True) for body in world.listeners.of("chat")}) == len(bodies)
        return [each.target.value for each in await world.store.history(rollout.id)], [each["phase"] for each in bodies]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_controller_killed_anywhere_tells_every_change_in_order_with_the_same_words(after: bool) -> None:
    counting = KillSwitch()
    history, told = await ended(counting)
    assert told == history == ["preparing", "warming", "progressing", "progressing", "promoting", "promoted"]
    for at in range(20, counting.operations, 3):
        assert await ended(KillSwitch(at, after=after)) == (history, history), at
