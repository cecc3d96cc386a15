"""A/B tests at the controller: outcomes come in, and the verdict follows from what is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from services.cli.rollout_replay import replayed
from services.controller.storage.sql_feedback import add_outcomes
from services.core.errors import Conflict, InvalidRequest, NotFound, Unavailable
from services.core.rollouts.experiment import Experiment, OnWin, OutcomeKind, OutcomeSpec
from services.core.rollouts.feedback import Feedback, Taken
from services.core.rollouts.rollout import Phase, Rollout
from services.core.rollouts.rollout_spec import OnInconclusive, RolloutSpec, Step, Strategy
from services.core.rollouts.webhook import Occasion, Webhook
from services.core.route import Arm, Route
from tests.fakes.control_plane import ControlPlane, FakeRepository

pytestmark = pytest.mark.anyio

CLICKED = OutcomeSpec("clicked")
EXPERIMENT = Experiment(CLICKED, (Arm(3, 30),), min_outcomes=50)
SPEC = RolloutSpec("digits", 2, Strategy.AB, (Step(30, 5.0, 20),), max_step_duration_s=120, experiment=EXPERIMENT)


@asynccontextmanager
async def running(spec: RolloutSpec = SPEC) -> AsyncIterator[tuple[ControlPlane, Rollout]]:
    """Have a test under way, with all arms loaded, warm and in the route."""
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2, 3]
        rollout = await world.operations.start(spec, "ada")
        for _ in range(10):
            await world.tick()
            rollout = await world.rollout(rollout.id)
            if rollout.phase is Phase.PROGRESSING:
                break
        yield world, rollout


async def feed(world: ControlPlane, rates: dict[int, float], count: int, name: str = "r") -> None:
    """Tell of so many requests for each version, a share of them good."""
    for version, rate in rates.items():
        told = [
            Feedback(f"{name}-{version}-{n}", version, "clicked", float(n % 100 < 100 * rate)) for n in range(count)
        ]
        for begin in range(0, count, 200):
            await world.feedback.take("digits", told[begin : begin + 200])


async def over(world: ControlPlane, rollout: Rollout, most: int = 60) -> Rollout:
    for _ in range(most):
        await world.tick()
        rollout = await world.rollout(rollout.id)
        if rollout.phase.terminal:
            break
    return rollout


async def test_all_arms_are_loaded_and_routed() -> None:
    async with running() as (world, rollout):
        assert rollout.phase is Phase.PROGRESSING
        assert world.server.versions["digits"] == {1, 2, 3}
        route = (await world.store.book()).routes["digits"]
        assert route == Route("digits", 1, 2, 30, frozenset({1, 2, 3}), arms=(Arm(3, 30),), experiment=True)


async def test_the_better_arm_is_named_and_stable_keeps_the_traffic() -> None:
    async with running() as (world, rollout):
        await feed(world, {1: 0.4, 2: 0.41, 3: 0.8}, 400)
        ended = await over(world, rollout)
        assert ended.phase is Phase.CONCLUDED
        assert "version 3 wins" in ended.reason
        assert (await world.store.book()).routes["digits"] == Route("digits", 1, versions=frozenset({1}))


async def test_the_winner_gets_all_traffic_where_that_was_asked_for() -> None:
    promoting = replace(SPEC, experiment=replace(EXPERIMENT, on_win=OnWin.PROMOTE))
    async with running(promoting) as (world, rollout):
        await feed(world, {1: 0.4, 2: 0.41, 3: 0.8}, 400)
        ended = await over(world, rollout)
        assert ended.phase is Phase.PROMOTED, ended.reason
        assert (await world.store.book()).routes["digits"] == Route("digits", 3, versions=frozenset({3}))


async def test_no_lift_is_concluded_without_a_winner() -> None:
    modest = replace(SPEC, experiment=replace(EXPERIMENT, min_lift=0.5, on_win=OnWin.PROMOTE))
    async with running(modest) as (world, rollout):
        await feed(world, {1: 0.4, 2: 0.4, 3: 0.4}, 1_000)
        ended = await over(world, rollout)
        assert ended.phase is Phase.CONCLUDED
        assert "no arm wins" in ended.reason


@pytest.mark.parametrize(
    ("on_win", "best", "phase"),
    [
        (OnWin.CONCLUDE, 0.8, Phase.CONCLUDED),
        (OnWin.PROMOTE, 0.4, Phase.CONCLUDED),
        (OnWin.PROMOTE, 0.8, Phase.PROGRESSING),
    ],
    ids=["for a person to decide", "no winner", "a winner"],
)
async def test_a_promotion_is_to_be_confirmed_only_where_one_follows(on_win: OnWin, best: float, phase: Phase) -> None:
    gate = Webhook("gate", Occasion.CONFIRM_PROMOTION, "http://gate/x")
    asked = replace(EXPERIMENT, min_lift=0.5, on_win=on_win)
    async with running(replace(SPEC, experiment=asked, webhooks=(gate,))) as (world, rollout):
        world.listeners.answers = {"gate": 403}
        await feed(world, {1: 0.4, 2: 0.4, 3: best}, 1_000)
        assert (await over(world, rollout)).phase is phase
        assert bool(world.listeners.of("gate")) is (phase is Phase.PROGRESSING)


async def test_without_feedback_nothing_wins_and_the_test_ends_inconclusive() -> None:
    for policy, phase in ((OnInconclusive.ABORT, Phase.ROLLED_BACK), (OnInconclusive.PAUSE, Phase.PAUSED)):
        silent = replace(SPEC, max_step_duration_s=20, on_inconclusive=policy)
        async with running(silent) as (world, rollout):
            ended = await over(world, rollout, 40)
            assert ended.phase is phase
            assert "inconclusive" in ended.reason


async def test_harm_in_a_further_arm_rolls_the_whole_test_back() -> None:
    async with running() as (world, rollout):
        for worker in world.workers:
            worker.error[3] = 0.5
        ended = await over(world, rollout)
        assert ended.phase is Phase.ROLLED_BACK
        assert "version 3" in ended.reason


async def test_no_verdict_comes_before_the_shortest_time() -> None:
    long = replace(SPEC, steps=(Step(30, 60.0, 20),))
    async with running(long) as (world, rollout):
        await feed(world, {1: 0.1, 2: 0.9, 3: 0.1}, 400)
        await world.tick(30)
        assert (await world.rollout(rollout.id)).phase is Phase.PROGRESSING
        assert (await over(world, rollout)).phase is Phase.CONCLUDED


async def test_outcomes_are_counted_once_over_repetitions_and_a_restart() -> None:
    async with running() as (world, rollout):
        await feed(world, {1: 0.5, 2: 0.5, 3: 0.5}, 40)
        await feed(world, {1: 0.5, 2: 0.5, 3: 0.5}, 40)
        await world.restart()
        await world.tick()
        await feed(world, {1: 0.5, 2: 0.5, 3: 0.5}, 40)
        await world.tick()
        outcomes = (await world.rollout(rollout.id)).evidence.outcomes
        assert {version: totals.count for version, totals in outcomes.items()} == {1: 40, 2: 40, 3: 40}


@pytest.mark.parametrize(
    ("told", "error", "words"),
    [
        (Feedback("a", 2, "bought", 1.0), InvalidRequest, "'clicked'"),
        (Feedback("a", 9, "clicked", 1.0), InvalidRequest, "arms are 1, 2, 3"),
        (Feedback("a", 2, "clicked", 0.5), InvalidRequest, "0 or 1"),
    ],
)
async def test_what_the_test_does_not_ask_for_is_refused_and_nothing_of_the_call_is_stored(
    told: Feedback, error: type[Exception], words: str
) -> None:
    async with running() as (world, rollout):
        with pytest.raises(error, match=words):
            await world.feedback.take("digits", [Feedback("good", 2, "clicked", 1.0), told])
        await world.tick()
        assert (await world.rollout(rollout.id)).evidence.outcomes == {}


async def test_feedback_without_a_test_is_refused_with_words() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        with pytest.raises(Conflict, match="no A/B test"):
            await world.feedback.take("digits", [Feedback("a", 1, "clicked", 1.0)])
        with pytest.raises(NotFound, match="not served"):
            await world.feedback.take("letters", [Feedback("a", 1, "clicked", 1.0)])
        with pytest.raises(InvalidRequest, match="1 to 256"):
            await world.feedback.take("digits", [])


async def test_a_database_that_is_away_takes_nothing_and_loses_nothing() -> None:
    async with running() as (world, rollout):
        world.store.away = True
        with pytest.raises(Unavailable):
            await world.feedback.take("digits", [Feedback("a", 2, "clicked", 1.0)])
        world.store.away = False
        assert await world.feedback.take("digits", [Feedback("a", 2, "clicked", 1.0)]) == [Taken.STORED]
        await world.tick()
        assert (await world.rollout(rollout.id)).evidence.outcomes[2].count == 1


async def test_a_value_is_stored_as_told_and_compared_on_its_scale() -> None:
    spent = Experiment(OutcomeSpec("spent", OutcomeKind.VALUE, 0.0, 50.0), (Arm(3, 30),), min_outcomes=50)
    async with running(replace(SPEC, experiment=spent)) as (world, rollout):
        for version, mean in ((1, 10), (2, 20), (3, 10)):
            told = [Feedback(f"{version}-{n}", version, "spent", float(mean + n % 3)) for n in range(250)]
            await world.feedback.take("digits", told)
        ended = await over(world, rollout)
        assert ended.phase is Phase.CONCLUDED
        assert "version 2 wins" in ended.reason


async def test_rest_takes_feedback_shows_the_arms_and_every_verdict_replays() -> None:
    async with running() as (world, rollout):
        transport = httpx2.ASGITransport(world.app())
        async with httpx2.AsyncClient(transport=transport, base_url="http://controller") as client:

            async def tell(body: Any) -> tuple[int, Any]:
                answer = await client.post("/v1/models/digits/feedback", json=body)
                return answer.status_code, answer.json()

            one = {"id": "a", "model_version": 2, "outcomes": {"clicked": 1}}
            assert await tell(one) == (200, {"results": [{"id": "a", "outcome": "clicked", "result": "stored"}]})
            _, found = await tell([one, {**one, "outcomes": {"clicked": 0}}])
            assert [each["result"] for each in found["results"]] == ["repeated", "conflicting"]
            no_version = {"id": "a", "outcomes": {"clicked": 1}}
            wrongs: list[Any] = [no_version, {**one, "outcomes": {}}, {**one, "more": 1}, []]
            for wrong in wrongs:
                assert (await tell(wrong))[0] == 400
            assert (await tell({**one, "model_version": 7}))[0] == 400

            await feed(world, {1: 0.4, 2: 0.4, 3: 0.8}, 400)
            await world.tick()
            shown = (await client.get(f"/v1/rollouts/{rollout.id}")).json()
            assert shown["evidence"]["outcomes"]["3"] == {"outcomes": 400, "mean": 0.8}
            page = (await client.get(f"/rollouts/{rollout.id}", headers={"accept": "text/html"})).text
            assert "Arms" in page
            assert 'data-label="Stands">wins</td>' in page

            await over(world, rollout)
            lines = (await client.get(f"/v1/rollouts/{rollout.id}/history")).json()["history"]
            judged = [line for line in lines if line["judged"]]
            assert judged
            assert all(replayed(line).same for line in judged)
            told = "\n".join((await client.get(f"/v1/rollouts/{rollout.id}/explanation")).json()["lines"])
            assert "version 3 wins" in told
            assert "1,201 outcomes" in told
            assert "versions 2, 3" in told


async def test_a_test_that_has_its_fill_says_so(tmp_path: Any) -> None:
    from sqlalchemy import create_engine, insert

    from services.controller.storage.schema import METADATA, ROLLOUTS

    engine = create_engine(f"sqlite:///{tmp_path / 'few.sqlite'}")
    METADATA.create_all(engine)
    row = {"id": "m-1", "model": "m", "number": 1, "sequence": 1, "active": True, "generation": 1, "document": ""}
    told = [(Feedback(f"{n}", 1, "clicked", 1.0), 1.0) for n in range(3)]
    with engine.begin() as connection:
        connection.execute(insert(ROLLOUTS).values(row))
        add_outcomes(connection, "m-1", told[:2], most=2)
        with pytest.raises(Conflict, match="the limit"):
            add_outcomes(connection, "m-1", told, most=2)
    engine.dispose()


async def test_a_plan_says_how_long_the_least_number_of_outcomes_takes() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2, 3]
        await world.tick(20)
        many = replace(SPEC, max_step_duration_s=1e5, experiment=replace(EXPERIMENT, min_outcomes=60_000))
        few, most = await world.insight.plan(SPEC), await world.insight.plan(many)
        assert few.seconds is not None
        assert most.seconds == pytest.approx(60_000 / (0.3 * most.per_s), rel=0.1)
        assert most.seconds is not None
        assert most.seconds > few.seconds
