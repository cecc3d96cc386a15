"""Custom metrics from the query to the rollback, and what a Prometheus may answer."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import httpx2
import pytest

from services.controller.measuring import Measuring
from services.controller.prometheus_query import PrometheusQuery
from services.controller.webhooks.caller import WebhookCaller
from services.core.errors import ConfigurationError, PenstockError, Unavailable, UpstreamFailure
from services.core.rollouts.custom_metric import CustomMetric, Reading
from services.core.rollouts.rollout import Phase, Rollout, new_rollout
from services.core.rollouts.rollout_spec import RolloutSpec, Step
from tests.fakes.clock import FakeClock
from tests.fakes.control_plane import ControlPlane, FakeRepository
from tests.fakes.prometheus import FakePrometheus

pytestmark = pytest.mark.anyio
MEMORY = CustomMetric(
    "memory", 'm{v="{{candidate}}"}', at_most=10.0, interval_s=2.0, count=2, consecutive_error_limit=1
)
SPEC = RolloutSpec("digits", 2, steps=(Step(50, 2, 20),), max_step_duration_s=60, metrics=(MEMORY,))


async def rolled(world: ControlPlane, ticks: int = 40) -> tuple[Phase, str]:
    await world.serve()
    world.repository.published["digits"] = [1, 2]
    rollout = await world.operations.start(SPEC, "ada")
    await world.tick(ticks)
    over = await world.rollout(rollout.id)
    return over.phase, over.reason


async def test_good_measurements_promote() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        phase, _ = await rolled(world)
        assert phase is Phase.PROMOTED
        assert set(world.prometheus.queries) == {'m{v="2"}'}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (11.0, "metric"),
        (float("nan"), "the value is nan"),
        (UpstreamFailure("the query matches nothing"), "matches nothing"),
    ],
)
async def test_bad_ones_and_none_roll_back(answer: float | PenstockError, words: str) -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        world.prometheus.answer = answer
        phase, reason = await rolled(world)
        assert phase is Phase.ROLLED_BACK
        assert words in reason or "bad measurements" in reason


async def test_measurements_outlive_the_controller() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2]
        world.prometheus.answer = UpstreamFailure("not now")
        rollout = await world.operations.start(SPEC, "ada")
        while not (await world.rollout(rollout.id)).evidence.measurements:
            await world.tick()
        await world.restart()
        await world.tick()
        assert (await world.rollout(rollout.id)).evidence.measurements["memory"].errors >= 1


def measuring_with(prometheus: FakePrometheus, clock: FakeClock) -> Measuring:
    return Measuring(prometheus, WebhookCaller("", clock), clock, clock.monotonic)


async def measured(measuring: Measuring, rollout: Rollout) -> Rollout:
    """Take what there is into the evidence, as a tick does, and let what is due be measured."""
    evidence = rollout.evidence
    for metric, reading in measuring.take(rollout):
        evidence = evidence.measured(metric, reading)
    await measuring.idle()
    return replace(rollout, evidence=evidence)


async def test_a_clock_that_is_set_back_keeps_nothing_from_being_measured_and_calls_nobody_more_often() -> None:
    prometheus, clock = FakePrometheus(), FakeClock()
    rollout = new_rollout(SPEC, 1, clock())
    clock.set(-600.0)  # right after the step began
    async with measuring_with(prometheus, clock) as measuring:
        for seconds in range(8):
            if seconds == 4:
                clock.set(-600.0)
            rollout = await measured(measuring, rollout)
            clock.advance(1.0)
        seen = rollout.evidence.measurements["memory"]
        assert (seen.good, len(prometheus.queries)) == (4, 4), "every other second"
    async with measuring_with(prometheus, clock) as after_a_restart:
        clock.set(-600.0)
        rollout = await measured(after_a_restart, rollout)
        rollout = await measured(after_a_restart, rollout)
        assert rollout.evidence.measurements["memory"].good == 5


async def test_a_measurement_that_was_stored_by_another_controller_is_not_made_again_at_once() -> None:
    prometheus, clock = FakePrometheus(), FakeClock()
    rollout = new_rollout(SPEC, 1, clock())
    evidence = rollout.evidence.measured(MEMORY, Reading(clock(), 1.0))
    rollout = replace(rollout, evidence=evidence)
    async with measuring_with(prometheus, clock) as measuring:
        clock.advance(1.0)
        await measured(measuring, rollout)
        assert prometheus.queries == []
        clock.advance(1.0)
        await measured(measuring, rollout)
        assert len(prometheus.queries) == 1


async def test_what_was_measured_before_a_step_began_says_nothing_of_it() -> None:
    prometheus, clock = FakePrometheus(), FakeClock()
    rollout = new_rollout(SPEC, 1, clock())
    async with measuring_with(prometheus, clock) as measuring:
        assert list(measuring.take(rollout)) == []
        await measuring.idle()
        clock.advance(1.0)
        later = replace(rollout, step=1, step_entered_at=clock())
        assert list(measuring.take(later)) == [], "it was measured under the weight before"
        await measuring.idle()
        [(metric, reading)] = measuring.take(later)
        assert (metric, reading.at, reading.value) == (MEMORY, clock(), 1.0)
        assert len(prometheus.queries) == 2


async def test_a_rollout_that_is_over_and_a_lead_that_ends_leave_nothing_behind() -> None:
    prometheus, clock = FakePrometheus(), FakeClock()
    rollout = new_rollout(SPEC, 1, clock())
    async with measuring_with(prometheus, clock) as measuring:
        ends: tuple[Callable[[], None], ...] = (partial(measuring.keep, {"digits-7"}), measuring.drop)
        for end in ends:
            list(measuring.take(rollout))
            await measuring.idle()
            end()
            assert list(measuring.take(rollout)) == []
            await measuring.idle()


def answering(status: int, body: bytes) -> PrometheusQuery:
    return PrometheusQuery("http://p", httpx2.MockTransport(lambda _: httpx2.Response(status, content=body)))


def success(kind: str, result: object) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()


@pytest.mark.parametrize(
    ("body", "value"),
    [(success("vector", [{"metric": {}, "value": [1, "2.5"]}]), 2.5), (success("scalar", [1, "3"]), 3.0)],
)
async def test_one_number_is_taken(body: bytes, value: float) -> None:
    prometheus = answering(200, body)
    assert await prometheus.value("up") == value
    await prometheus.aclose()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, success("vector", []), "matches nothing: up"),
        (200, success("vector", [{"value": [1, "1"]}, {"value": [1, "2"]}]), "gives 2 series"),
        (200, success("matrix", []), "gives a matrix"),
        (200, success("vector", [{"value": [1, "one"]}]), "makes no sense"),
        (200, success("vector", [{}]), "makes no sense"),
        (200, b'{"status": "success"}', "makes no sense"),
        (400, b'{"status": "error", "error": "parse error at char 3"}', "refuses the query: parse error"),
        (200, b"<html>", "is that a Prometheus"),
        (200, b"[]", "is that a Prometheus"),
        (502, b"bad gateway", "answered 502"),
        (200, b"x" * (2 << 20), "more than"),
    ],
)
async def test_whatever_is_not_one_number_is_an_error_with_words(status: int, body: bytes, words: str) -> None:
    prometheus = answering(status, body)
    with pytest.raises(UpstreamFailure, match=words):
        await prometheus.value("up")
    await prometheus.aclose()


async def test_a_prometheus_that_is_away_is_said_to_be() -> None:
    prometheus = PrometheusQuery("http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="does not answer"):
        await prometheus.value("up")
    await prometheus.aclose()


@pytest.mark.parametrize(
    "url", ["prometheus:9090", "ftp://prometheus", "http://", "http://[", "http://p:99999", "http://p:x", ""]
)
def test_an_address_that_no_prometheus_can_have_is_refused_with_words(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"controller\.prometheus_url is .* such as http://prometheus:9090"):
        PrometheusQuery(url)


@pytest.mark.parametrize("error", [httpx2.InvalidURL("no URL"), ValueError("no name"), OSError("no route")])
async def test_a_query_that_cannot_even_be_sent_is_a_measurement_without_a_value(error: Exception) -> None:
    def fail(_: httpx2.Request) -> httpx2.Response:
        raise error

    prometheus = PrometheusQuery("http://p", httpx2.MockTransport(fail))
    with pytest.raises(Unavailable, match="does not answer"):
        await prometheus.value("up")
    await prometheus.aclose()
