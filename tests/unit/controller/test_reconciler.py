from dataclasses import replace

import pytest

from services.core.analysis.verdict import Outcome
from services.core.errors import Conflict, InvalidRequest, NotFound, Unavailable
from services.core.rollouts.event import Event, EventKind
from services.core.rollouts.rollout import Phase, Rollout
from services.core.rollouts.rollout_spec import RolloutSpec, Step
from services.core.route import Route
from tests.fakes.control_plane import ControlPlane, FakeRepository

pytestmark = pytest.mark.anyio

SPEC = RolloutSpec("digits", 2, steps=(Step(5, 5, 20), Step(25, 5, 20), Step(50, 5, 20)), max_step_duration_s=60)


def plane(*versions: int) -> ControlPlane:
    return ControlPlane(repository=FakeRepository(digits=list(versions) or [1]))


def route_in(plane: ControlPlane, model: str = "digits") -> Route | None:
    return plane.ledger.routes.get(model)


async def started(plane: ControlPlane, spec: RolloutSpec = SPEC) -> Rollout:
    """Serve version 1, publish version 2 and start a rollout to it."""
    plane.repository.published["digits"] = [1]
    await plane.serve()
    plane.repository.published["digits"] = [1, 2]
    return await plane.operations.start(spec, "ada")


async def until_over(plane: ControlPlane, rollout_id: str, ticks: int = 300) -> Rollout:
    for _ in range(ticks):
        rollout = await plane.rollout(rollout_id)
        if rollout.phase.terminal:
            return rollout
        await plane.tick()
    raise AssertionError(f"{rollout_id} is not over after {ticks} ticks: {rollout.phase}, {rollout.reason}")


async def test_a_new_model_is_served_in_its_latest_version() -> None:
    async with plane(1, 2, 3) as world:
        await world.tick(2)
        assert route_in(world) == Route("digits", 3, versions=frozenset({3}))
        assert world.server.versions == {"digits": {3}}


async def test_a_new_model_is_served_in_its_latest_version_that_loads() -> None:
    async with plane(1, 2, 3) as world:
        world.server.broken = {("digits", 3): "no such operator", ("digits", 2): "too large"}
        await world.tick(6)
        assert route_in(world) == Route("digits", 1, versions=frozenset({1}))


async def test_a_model_of_which_nothing_loads_gets_no_route_says_why_and_is_tried_again() -> None:
    async with plane(1, 2) as world:
        world.server.broken = {("digits", 1): "no such operator", ("digits", 2): "too large"}
        await world.tick(6)
        assert route_in(world) is None
        problem = world.overview.model("digits")["problem"]
        assert "no such operator" in problem
        assert "too large" in problem
        world.server.broken = {}
        await world.tick(60)
        assert route_in(world) == Route("digits", 2, versions=frozenset({2}))


async def test_a_version_published_later_gets_no_traffic_without_a_rollout() -> None:
    async with plane(1) as world:
        await world.tick(2)
        world.repository.published["digits"] = [1, 2]
        await world.tick(5)
        assert route_in(world) == Route("digits", 1, versions=frozenset({1}))
        assert world.server.versions == {"digits": {1}}


async def test_a_good_candidate_takes_over_step_by_step_and_the_old_version_is_unloaded() -> None:
    async with plane() as world:
        rollout = await started(world)
        weights = []
        while not (await world.rollout(rollout.id)).phase.terminal:
            await world.tick()
            route = route_in(world)
            assert route is not None
            if route.candidate and route.weight_percent not in weights:
                weights.append(route.weight_percent)
        await world.tick()
        assert weights == [5, 25, 50]
        assert (await world.rollout(rollout.id)).phase is Phase.PROMOTED
        assert route_in(world) == Route("digits", 2, versions=frozenset({2}))
        assert world.server.versions == {"digits": {2}}


async def test_the_candidate_is_loaded_before_any_weight() -> None:
    async with plane() as world:
        await started(world)
        weights = []
        for _ in range(6):
            await world.tick()
            route = route_in(world)
            assert route is not None
            weights.append(route.weight_percent)
            if route.weight_percent:
                assert world.server.versions["digits"] == {1, 2}
        assert weights[0] == 0
        assert weights[-1] == 5


async def test_a_candidate_that_fails_is_rolled_back_first_by_weight_then_unloaded() -> None:
    async with plane() as world:
        for worker in world.workers:
            worker.error[2] = 1.0
        rollout = await started(world)
        while (await world.rollout(rollout.id)).phase is not Phase.ROLLING_BACK:
            await world.tick()
        assert route_in(world) == Route("digits", 1, versions=frozenset({1}))
        assert world.server.versions == {"digits": {1, 2}}
        over = await until_over(world, rollout.id)
        await world.tick()
        assert over.phase is Phase.ROLLED_BACK
        assert "bad answers" in over.reason
        assert world.server.versions == {"digits": {1}}


async def test_a_candidate_that_cannot_be_loaded_fails_with_tritons_reason_and_stable_stays() -> None:
    async with plane() as world:
        world.server.broken = {("digits", 2): "no such operator"}
        rollout = await started(world)
        over = await until_over(world, rollout.id)
        await world.tick(2)
        assert over.phase is Phase.FAILED
        assert "no such operator" in over.reason
        assert route_in(world) == Route("digits", 1, versions=frozenset({1}))
        assert world.server.versions == {"digits": {1}}


async def test_a_worker_that_never_acknowledges_delays_unloading_but_not_for_ever() -> None:
    async with plane() as world:
        rollout = await started(world)
        await world.tick(4)
        world.workers[0].deaf = True
        await world.operations.steer(rollout.id, Event(EventKind.ABORT, "ada", "enough"))
        await world.tick(20)
        assert world.server.versions == {"digits": {1, 2}}
        await world.tick(15)
        assert world.server.versions == {"digits": {1}}
        assert (await world.rollout(rollout.id)).phase is Phase.ABORTED
        assert "worker-1" in (await world.store.history(rollout.id))[-1].reason


async def test_a_worker_that_died_does_not_delay_unloading() -> None:
    async with plane() as world:
        rollout = await started(world)
        await world.tick(4)
        world.workers.pop()
        await world.operations.steer(rollout.id, Event(EventKind.ABORT, "ada"))
        await world.tick(14)
        assert world.server.versions == {"digits": {1}}


async def test_silence_never_promotes() -> None:
    async with plane() as world:
        rollout = await started(world)
        world.per_tick = 0
        over = await until_over(world, rollout.id)
        assert over.phase is Phase.ROLLED_BACK
        assert over.reason.startswith("inconclusive")


async def test_versions_that_triton_lost_are_loaded_again() -> None:
    async with plane() as world:
        rollout = await started(world)
        await world.tick(5)
        assert (await world.rollout(rollout.id)).phase is Phase.PROGRESSING
        world.server.restart()
        await world.tick(2)
        assert world.server.versions == {"digits": {1, 2}}
        assert (await world.rollout(rollout.id)).phase is Phase.PROGRESSING


async def test_an_absent_triton_neither_fails_nor_promotes_a_candidate_that_was_not_loaded() -> None:
    async with plane() as world:
        rollout = await started(world)
        world.server.away = True
        await world.tick(20)
        assert (await world.rollout(rollout.id)).phase is Phase.PREPARING
        assert world.overview.readiness()["triton"] == "the fake Triton is away"
        world.server.away = False
        await world.tick(40)
        assert (await world.rollout(rollout.id)).phase is not Phase.PREPARING


async def test_a_candidate_that_triton_can_no_longer_load_is_rolled_back_and_stable_is_served_again() -> None:
    async with plane() as world:
        rollout = await started(world)
        await world.tick(5)
        world.server.restart()
        world.server.broken = {("digits", 2): "out of memory"}
        over = await until_over(world, rollout.id)
        assert over.phase is Phase.ROLLED_BACK
        assert "out of memory" in over.reason
        assert world.server.versions == {"digits": {1}}


async def test_no_weight_is_raised_while_triton_does_not_answer_and_harm_still_rolls_back() -> None:
    async with plane() as world:
        rollout = await started(world)
        await world.tick(4)
        assert (await world.rollout(rollout.id)).weight_percent == 5
        world.server.away = True
        await world.tick(40)
        held = await world.rollout(rollout.id)
        assert (held.phase, held.weight_percent) == (Phase.PROGRESSING, 5)
        assert held.verdict is not None
        assert held.verdict.outcome is Outcome.PASS
        world.server.away = False
        assert (await until_over(world, rollout.id)).phase is Phase.PROMOTED


async def test_without_its_database_the_controller_decides_nothing_says_so_and_goes_on_later() -> None:
    async with plane() as world:
        rollout = await started(world)
        await world.tick(4)
        before, generation = await world.rollout(rollout.id), world.ledger.changed("digits")
        world.store.away = True
        await world.tick(30)
        assert world.overview.readiness()["ready"] is False
        assert "away" in world.overview.readiness()["store"]
        assert world.ledger.changed("digits") == generation
        with pytest.raises(Unavailable):
            await world.operations.steer(rollout.id, Event(EventKind.ABORT, "ada"))
        world.server.restart()
        await world.tick(2)
        assert world.server.versions == {"digits": {1, 2}}, "Triton is kept loaded meanwhile"
        world.store.away = False
        await world.tick(1)
        assert world.overview.readiness()["ready"] is True
        assert (await world.rollout(rollout.id)).generation > before.generation
        assert (await until_over(world, rollout.id)).phase is Phase.PROMOTED


async def test_a_controller_that_starts_without_its_database_shows_no_table_and_waits() -> None:
    async with plane() as world:
        world.store.away = True
        await world.tick(3)
        assert world.board.book is None
        world.store.away = False
        await world.tick(2)
        assert route_in(world) is not None


async def test_somebody_elses_write_is_seen_and_not_overwritten() -> None:
    async with plane() as world:
        rollout = await started(world)
        await world.tick(4)
        theirs = await world.store.save(await world.rollout(rollout.id), None)
        await world.tick(1)  # loses the compare-and-swap
        assert (await world.rollout(rollout.id)).generation == theirs.generation
        await world.tick(1)
        assert (await world.rollout(rollout.id)).generation > theirs.generation


async def test_a_second_rollout_of_the_model_is_refused_by_name() -> None:
    async with plane() as world:
        rollout = await started(world)
        with pytest.raises(Conflict, match=rollout.id):
            await world.operations.start(RolloutSpec("digits", 2), "bob")


async def test_a_candidate_must_be_published_and_not_stable_and_its_model_served() -> None:
    async with plane(1) as world:
        await world.tick(2)
        with pytest.raises(NotFound, match="published: 1"):
            await world.operations.start(RolloutSpec("digits", 9), "ada")
        with pytest.raises(InvalidRequest, match="stable one already"):
            await world.operations.start(RolloutSpec("digits", 1), "ada")
        with pytest.raises(NotFound, match="served models: digits"):
            await world.operations.start(RolloutSpec("letters", 1), "ada")


async def test_a_rollout_may_follow_a_build_at_once() -> None:
    async with plane(1) as world:
        await world.tick(2)
        world.repository.published["digits"] = [1, 2]  # no tick since
        assert (await world.operations.start(SPEC, "ada")).id == "digits-1"


async def test_an_abort_takes_the_weight_away_at_once() -> None:
    async with plane() as world:
        rollout = await started(world)
        await world.tick(4)
        await world.operations.steer(rollout.id, Event(EventKind.ABORT, "ada", "wrong labels"))
        assert route_in(world) == Route("digits", 1, versions=frozenset({1}))
        last = (await world.store.history(rollout.id))[-1]
        assert (last.actor, last.source_weight_percent, last.target_weight_percent) == ("ada", 5, 0)
        assert "wrong labels" in last.reason


async def test_a_person_may_promote_without_waiting() -> None:
    async with plane() as world:
        rollout = await started(world)
        await world.tick(4)
        await world.operations.steer(rollout.id, Event(EventKind.PROMOTE, "ada"))
        assert route_in(world) == Route("digits", 2, versions=frozenset({2}))
        assert (await until_over(world, rollout.id)).phase is Phase.PROMOTED


async def test_a_pause_holds_the_weight_and_harm_still_rolls_back() -> None:
    async with plane() as world:
        rollout = await started(world)
        await world.tick(4)
        await world.operations.steer(rollout.id, Event(EventKind.PAUSE, "ada"))
        await world.tick(100)
        paused = await world.rollout(rollout.id)
        assert (paused.phase, paused.weight_percent) == (Phase.PAUSED, 5)
        assert paused.evidence.candidate.requests > 500
        for worker in world.workers:
            worker.error[2] = 1.0
        assert (await until_over(world, rollout.id)).phase is Phase.ROLLED_BACK


async def test_a_rollout_that_is_over_takes_no_verb() -> None:
    async with plane() as world:
        rollout = await started(world)
        over = await until_over(world, rollout.id)
        assert over.phase is Phase.PROMOTED
        with pytest.raises(Conflict, match="allows no verb"):
            await world.operations.steer(rollout.id, Event(EventKind.ABORT, "ada"))


async def test_after_a_rollout_the_next_one_begins_from_the_new_stable() -> None:
    async with plane() as world:
        await until_over(world, (await started(world)).id)
        world.repository.published["digits"] = [1, 2, 3]
        second = await world.operations.start(RolloutSpec("digits", 3), "ada")
        assert (second.id, second.stable) == ("digits-2", 2)


async def test_a_broken_version_can_be_rolled_out_again_once_it_is_mended() -> None:
    async with plane() as world:
        world.server.broken = {("digits", 2): "no such operator"}
        first = await started(world)
        assert (await until_over(world, first.id)).phase is Phase.FAILED
        world.server.broken = {}
        second = await world.operations.start(SPEC, "ada")
        assert (await until_over(world, second.id)).phase is Phase.PROMOTED


async def test_a_version_that_failed_often_is_tried_at_once_when_a_person_asks_again() -> None:
    async with plane() as world:
        world.server.broken = {("digits", 2): "no such operator"}
        await started(world)
        for number in range(1, 8):
            await world.tick(3)
            assert (await world.rollout(f"digits-{number}")).phase is Phase.FAILED
            await world.operations.start(SPEC, "ada")


async def test_answers_under_the_old_weight_are_no_evidence_of_a_step_whose_route_could_not_be_stored() -> None:
    async with plane() as world:
        rollout = await started(world)
        while (await world.rollout(rollout.id)).phase is not Phase.PROGRESSING:
            await world.tick()
        world.store.routes_away = True
        while (await world.rollout(rollout.id)).step == 0:
            await world.tick()
        await world.tick(8)
        held = await world.rollout(rollout.id)
        assert (held.step, held.evidence.candidate.requests) == (1, 0)
        assert route_in(world) == Route("digits", 1, 2, 5, frozenset({1, 2}))
        world.store.routes_away = False
        assert (await until_over(world, rollout.id)).phase is Phase.PROMOTED


async def test_a_controller_that_was_away_for_longer_than_a_step_may_take_hears_the_workers_first() -> None:
    async with plane() as world:
        rollout = await started(world, replace(SPEC, steps=(Step(5, 5, 2000),)))
        await world.tick(5)
        world.clock.advance(10 * SPEC.max_step_duration_s)
        await world.restart()
        for worker in world.workers:
            worker.answer("digits", 100_000)
        await world.reconciler.tick()
        assert (await world.rollout(rollout.id)).phase is Phase.PROGRESSING
        assert (await until_over(world, rollout.id)).phase is Phase.PROMOTED


async def test_one_model_that_loads_for_minutes_keeps_no_other_from_its_rollback() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1], slow=[1])) as world:
        await world.serve()
        world.repository.published |= {"digits": [1, 2], "slow": [1, 2]}
        world.server.stuck = {"slow"}
        for worker in world.workers:
            worker.error[2] = 1.0
        await world.operations.start(RolloutSpec("slow", 2), "ada")
        bad = await world.operations.start(SPEC, "ada")
        assert (await until_over(world, bad.id)).phase is Phase.ROLLED_BACK
        assert (await world.rollout("slow-1")).phase is Phase.PREPARING


async def test_a_version_that_an_earlier_load_is_taking_away_is_not_taken_for_loaded() -> None:
    async with plane() as world:
        first = await started(world)
        await world.tick(4)
        await world.operations.steer(first.id, Event(EventKind.ABORT, "ada"))
        while not (await world.rollout(first.id)).phase.terminal:
            world.server.stuck = {"digits"}  # the load without version 2 has begun, and takes its time
            await world.tick()
        assert world.server.versions == {"digits": {1, 2}}
        second = await world.operations.start(SPEC, "ada")
        await world.tick(5)
        assert (await world.rollout(second.id)).phase is Phase.PREPARING
        assert route_in(world) == Route("digits", 1, versions=frozenset({1}))
        world.server.stuck = set()
        await world.restart()
        assert (await until_over(world, second.id)).phase is Phase.PROMOTED


async def test_a_controller_that_was_away_for_long_hears_the_workers_before_it_takes_a_version_away() -> None:
    async with plane() as world:
        rollout = await started(world)
        await world.tick(4)
        for worker in world.workers:
            worker.deaf = True  # the controller dies before they hear of the abort
        await world.operations.steer(rollout.id, Event(EventKind.ABORT, "ada"))
        world.clock.advance(1000.0)
        await world.restart()
        await world.tick(8)
        assert world.server.versions == {"digits": {1, 2}}, "they still send requests to version 2"
        for worker in world.workers:
            worker.deaf = False
        await world.tick(15)
        assert world.server.versions == {"digits": {1}}
        assert (await world.rollout(rollout.id)).phase is Phase.ABORTED
