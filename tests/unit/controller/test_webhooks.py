"""Webhooks with the meaning that they have in Flagger: asked, they hold or end a rollout; told, they change nothing."""

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from services.controller.dashboard.words import EXPERIMENT_PHASES, PHASES
from services.controller.webhooks.caller import DELIVERY_HEADER, SIGNATURE_HEADER, WebhookCaller, signature
from services.controller.webhooks.hosts import AllowedHosts
from services.core.errors import InvalidRequest
from services.core.rollouts.custom_metric import CustomMetric
from services.core.rollouts.event import Event, EventKind
from services.core.rollouts.rollout import Phase, Rollout
from services.core.rollouts.rollout_spec import RolloutSpec, Step, Strategy
from services.core.rollouts.webhook import Occasion, Webhook
from tests.fakes.control_plane import ControlPlane, FakeRepository
from tests.fakes.listeners import FakeListeners

pytestmark = pytest.mark.anyio
STEPS = (Step(10, 2, 20), Step(50, 2, 20))


def hook(name: str, occasion: Occasion, **given: object) -> Webhook:
    return Webhook(name, occasion, f"http://{name}/hook", **given)  # type: ignore[arg-type]


def nobody(*patterns: str) -> AllowedHosts:
    """Hosts whose names stand for nothing, so that none is looked up."""
    return AllowedHosts(patterns or ("*",), FakeListeners().resolve)


@asynccontextmanager
async def begun(*webhooks: Webhook, **answers: int) -> AsyncIterator[tuple[ControlPlane, Rollout]]:
    """A rollout whose webhooks are answered as their names say, 200 where nothing is said."""
    spec = RolloutSpec("digits", 2, steps=STEPS, max_step_duration_s=60, webhooks=webhooks)
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        world.listeners.answers = answers
        await world.serve()
        world.repository.published["digits"] = [1, 2]
        yield world, await world.operations.start(spec, "ada")


async def phase_of(world: ControlPlane, rollout: Rollout) -> tuple[Phase, int]:
    found = await world.rollout(rollout.id)
    return found.phase, found.weight_percent


async def test_a_rollout_begins_once_it_is_confirmed() -> None:
    async with begun(hook("gate", Occasion.CONFIRM_ROLLOUT), gate=403) as (world, rollout):
        await world.tick(15)
        assert await phase_of(world, rollout) == (Phase.PREPARING, 0)
        assert world.warmer.warmed == []
        lines, _ = await world.insight.explain(rollout.id)
        assert lines[0] == "Waits for webhook gate: http://gate/hook answered 403: not yet."
        assert 2 <= len(world.listeners.of("gate")) <= 4, "asked now and then, not at every tick"
        world.listeners.answers = {}
        await world.tick(8)
        assert (await phase_of(world, rollout))[0] is Phase.PROGRESSING


async def test_one_that_is_never_confirmed_ends_and_says_who_did_not() -> None:
    async with begun(hook("gate", Occasion.CONFIRM_ROLLOUT), gate=403) as (world, rollout):
        await world.tick(70)
        found = await world.rollout(rollout.id)
        assert found.phase is Phase.FAILED
        waited = "webhook gate: http://gate/hook answered 403: not yet"
        assert found.reason == f"inconclusive: no good answer within 60 s: {waited}"


async def waits(world: ControlPlane, rollout: Rollout) -> list[str]:
    lines, _ = await world.insight.explain(rollout.id)
    return [line for line in lines if line.startswith("Waits for")]


async def test_a_rollout_that_is_aborted_before_its_traffic_waits_for_nobody_and_leaves_nothing_behind() -> None:
    async with begun(hook("gate", Occasion.CONFIRM_ROLLOUT), gate=403) as (world, rollout):
        await world.tick(8)
        assert await waits(world, rollout)
        assert world.preflights.result(rollout) is not None
        await world.operations.steer(rollout.id, Event(EventKind.ABORT, "ada"))
        assert await waits(world, rollout) == []
        await world.tick()
        assert world.preflights.result(rollout) is None
        asked = len(world.listeners.of("gate"))
        again = await world.operations.start(rollout.spec, "ada")
        await world.tick(5)
        assert len(world.listeners.of("gate")) > asked, "the next rollout asks for itself"
        assert len(await waits(world, again)) == 1


@pytest.mark.parametrize("verb", [EventKind.PAUSE, EventKind.PROMOTE, EventKind.ABORT])
async def test_a_person_who_decides_is_waited_for_and_not_a_webhook(verb: EventKind) -> None:
    async with begun(hook("increase", Occasion.CONFIRM_TRAFFIC_INCREASE), increase=503) as (world, rollout):
        await world.tick(20)
        assert await waits(world, rollout)
        await world.operations.steer(rollout.id, Event(verb, "ada"))
        assert await waits(world, rollout) == []
        await world.tick()
        assert await waits(world, rollout) == []
        if verb is EventKind.PAUSE:
            await world.operations.steer(rollout.id, Event(EventKind.RESUME, "ada"))
            await world.tick()
            assert len(await waits(world, rollout)) == 1


@pytest.mark.parametrize("status", [500, 302, 0])
async def test_a_candidate_whose_acceptance_test_fails_gets_no_traffic(status: int) -> None:
    async with begun(hook("accept", Occasion.PRE_ROLLOUT, retries=1), accept=status) as (world, rollout):
        await world.tick(20)
        found = await world.rollout(rollout.id)
        assert found.phase is Phase.FAILED
        assert "webhook accept" in found.reason
        assert len(world.listeners.of("accept")) == 2
        assert world.warmer.warmed == [("digits", 2)], "it is asked of a warm version"


async def test_the_weight_rises_and_promotion_comes_once_they_are_confirmed() -> None:
    webhooks = (hook("increase", Occasion.CONFIRM_TRAFFIC_INCREASE), hook("promotion", Occasion.CONFIRM_PROMOTION))
    async with begun(*webhooks, increase=503, promotion=503) as (world, rollout):
        await world.tick(20)
        assert await phase_of(world, rollout) == (Phase.PROGRESSING, 10)
        assert world.listeners.of("promotion") == []
        world.listeners.answers["increase"] = 204
        await world.tick(12)
        assert await phase_of(world, rollout) == (Phase.PROGRESSING, 50)
        await world.restart()
        await world.tick(20)
        assert await phase_of(world, rollout) == (Phase.PROGRESSING, 50)
        world.listeners.answers = {}
        await world.tick(20)
        assert (await phase_of(world, rollout))[0] is Phase.PROMOTED


async def test_one_that_calls_for_a_rollback_aborts() -> None:
    async with begun(hook("alarm", Occasion.ROLLBACK), alarm=404) as (world, rollout):
        await world.tick(5)
        assert (await phase_of(world, rollout))[0] is Phase.PROGRESSING
        world.listeners.answers = {}
        await world.tick(20)
        assert (await phase_of(world, rollout))[0] is Phase.ABORTED
        line = next(line for line in await world.operations.history(rollout.id) if line.target is Phase.ABORTING)
        assert (line.actor, line.event) == ("webhook alarm", "abort")
        lines, _ = await world.insight.explain(rollout.id)
        assert "Stopped; version 1 has all traffic." in lines, "and nobody says that a person did it"
        assert not [words for words in (*PHASES.values(), *EXPERIMENT_PHASES.values()) if "person said" in words]


async def test_every_change_is_told_in_order_and_the_end_once() -> None:
    webhooks = (hook("news", Occasion.EVENT, metadata={"channel": "ops"}), hook("after", Occasion.POST_ROLLOUT))
    async with begun(*webhooks) as (world, rollout):
        await world.tick(40)
        told = world.listeners.of("news")
        history = await world.operations.history(rollout.id)
        assert [(one["event"], one["phase"]) for one in told] == [(line.event, line.target.value) for line in history]
        assert told[0] | {"name": "digits", "rollout": rollout.id, "metadata": {"channel": "ops"}} == told[0]
        assert [one["phase"] for one in world.listeners.of("after")] == ["promoted"]


async def test_a_call_is_signed_and_one_that_fails_is_made_again() -> None:
    async with begun(hook("news", Occasion.EVENT, retries=2), news=500) as (world, _):
        for pause_s in (2.0, 10.0, 50.0):
            await world.tell()
            world.clock.advance(pause_s)
        await world.tell()
        assert len(world.listeners.calls) == 3
        header = world.listeners.headers[-1][SIGNATURE_HEADER]
        assert len({headers[DELIVERY_HEADER] for headers in world.listeners.headers}) == 1, "the same delivery again"
        match = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", header)
        assert match is not None
        body = orjson.dumps(world.listeners.calls[-1][1])
        expected = hmac.new(b"secret", match[1].encode() + b"." + body, hashlib.sha256).hexdigest()
        assert match[2] == expected


async def test_without_a_secret_nothing_is_signed() -> None:
    seen: list[httpx2.Headers] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers)
        return httpx2.Response(200)

    caller = WebhookCaller("", lambda: 0.0, nobody(), httpx2.MockTransport(answer))
    assert (await caller.call(hook("news", Occasion.EVENT), {})).good
    assert SIGNATURE_HEADER not in seen[0]
    await caller.aclose()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "A hook"}, "lower-case"),
        ({"url": "ftp://host/x"}, "http:// or https://"),
        ({"url": "http:///x"}, "a host"),
        ({"url": "http://[::1/x"}, "a host"),
        ({"url": "http://[nowhere]/x"}, "a host"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"retries": -1}, "retries"),
        ({"metadata": {"k": "v" * 2000}}, "metadata"),
    ],
)
def test_a_webhook_that_makes_no_sense_is_refused(given: dict[str, object], words: str) -> None:
    defaults: dict[str, object] = {"name": "hook", "occasion": Occasion.EVENT, "url": "https://host/x"}
    with pytest.raises(InvalidRequest, match=words):
        Webhook(**(defaults | given))  # type: ignore[arg-type]


def test_webhooks_have_names_of_their_own() -> None:
    same = hook("news", Occasion.EVENT)
    with pytest.raises(InvalidRequest, match="a name of its own"):
        RolloutSpec("m", 2, Strategy.CANARY, webhooks=(same, same))


async def test_a_service_that_finds_the_candidate_bad_rolls_it_back() -> None:
    async with begun(hook("probe", Occasion.ROLLOUT, retries=1, interval_s=1.0), probe=500) as (world, rollout):
        await world.tick(20)
        found = await world.rollout(rollout.id)
        assert found.phase is Phase.ROLLED_BACK
        assert "probe: 0 good and 2 bad measurements" in found.reason
        assert len(world.listeners.of("probe")) == 2


async def test_a_step_passes_once_the_service_finds_it_good_and_not_without_an_answer() -> None:
    async with begun(hook("probe", Occasion.ROLLOUT, retries=10, interval_s=1.0), probe=0) as (world, rollout):
        await world.tick(12)
        assert await phase_of(world, rollout) == (Phase.PROGRESSING, 10), "no answer is no pass"
        world.listeners.answers = {}
        await world.tick(30)
        assert (await phase_of(world, rollout))[0] is Phase.PROMOTED


async def test_a_service_that_is_away_for_too_long_ends_the_rollout() -> None:
    async with begun(hook("probe", Occasion.ROLLOUT, retries=2, interval_s=1.0), probe=0) as (world, rollout):
        await world.tick(20)
        assert (await phase_of(world, rollout))[0] is Phase.ROLLED_BACK


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://169.254.169.254/latest", "link-local"),
        ("http://[fe80::1]/x", "link-local"),
        ("http://[fd00:ec2::254]/x", "link-local"),
        ("http://[::ffff:169.254.169.254]/x", "link-local"),
    ],
)
async def test_a_rollout_whose_webhook_would_ask_the_clouds_metadata_is_refused(url: str, words: str) -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2]
        spec = RolloutSpec("digits", 2, steps=STEPS, webhooks=(Webhook("thief", Occasion.EVENT, url),))
        with pytest.raises(InvalidRequest, match=words):
            await world.operations.start(spec, "mallory")


async def test_a_name_that_stands_for_a_link_local_address_is_never_called() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200)

    listeners = FakeListeners()
    listeners.addresses = {"harmless": ["10.0.0.1", "169.254.169.254"]}
    caller = WebhookCaller("", lambda: 0.0, AllowedHosts(("*",), listeners.resolve), httpx2.MockTransport(answer))
    answered = await caller.call(hook("harmless", Occasion.EVENT), {})
    assert not answered.good
    assert "link-local address 169.254.169.254" in answered.words
    assert seen == []
    assert caller.calls == {("event", "none"): 1}
    await caller.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "http://a..b/x",
        f"http://{'a' * 80}/x",
        "http://127.0.0.1:99999/x",
        "http://127.0.0.1:x/",
        "http://127.0.0.1/\x01",
    ],
)
async def test_an_address_that_nobody_can_have_gives_no_answer(url: str) -> None:
    caller = WebhookCaller("", lambda: 0.0)
    answered = await caller.call(Webhook("typo", Occasion.EVENT, url), {})
    assert answered.status is None
    assert answered.words.startswith(f"no answer from {url} (")
    await caller.aclose()


def test_only_hosts_that_are_allowed_are_called() -> None:
    hosts = nobody("*.example.org", "gate")
    assert hosts.problem("https://Ops.example.org/hook") == ""
    assert hosts.problem("http://gate:8080/x") == ""
    assert "webhook_hosts" in hosts.problem("http://example.org.evil/x")


async def test_an_answer_that_does_not_end_is_not_waited_for() -> None:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    caller = WebhookCaller(
        "", lambda: 0.0, nobody(), httpx2.MockTransport(lambda _: httpx2.Response(200, content=drip()))
    )
    answered = await caller.call(hook("slow", Occasion.EVENT, timeout_s=0.1), {})
    assert answered.words == "no answer from http://slow/hook within 0.1 s"
    await caller.aclose()


def test_a_metric_and_a_webhook_have_names_of_their_own() -> None:
    metric = CustomMetric("same", "up", at_least=1.0)
    with pytest.raises(InvalidRequest, match="a metric and a webhook"):
        RolloutSpec("m", 2, metrics=(metric,), webhooks=(hook("same", Occasion.ROLLOUT),))


def test_the_receivers_check_in_the_readme_knows_our_calls_from_others() -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text()
    [code] = re.findall(r"```python\n(def is_ours.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {"hmac": hmac, "hashlib": hashlib}
    exec(code, names)
    header = signature("secret", 1_000, b"{}")
    assert names["is_ours"]("secret", header, b"{}", 1_010.0)
    assert not names["is_ours"]("secret", header, b"[]", 1_010.0), "another body"
    assert not names["is_ours"]("other", header, b"{}", 1_010.0), "another secret"
    assert not names["is_ours"]("secret", header, b"{}", 2_000.0), "an old call"
