"""An answer that is not finite costs no more than the tick that sees it, in whichever step it comes."""

from collections.abc import Callable

import pytest

from services.core.analysis.verdict import Outcome
from services.core.rollouts.event import Event, EventKind
from services.core.rollouts.rollout import Phase, Rollout
from services.core.rollouts.rollout_spec import RolloutSpec, Step
from services.core.route import Route
from tests.fakes.control_plane import ControlPlane, FakeRepository

pytestmark = pytest.mark.anyio

SPEC = RolloutSpec("digits", 2, steps=(Step(5, 5, 20), Step(25, 5, 20), Step(50, 600, 20)))


async def until(world: ControlPlane, name: str, holds: Callable[[Rollout], bool]) -> Rollout:
    for _ in range(100):
        await world.tick()
        if holds(rollout := await world.rollout(name)):
            return rollout
    raise AssertionError(f"not in 100 ticks: {rollout}")


async def in_step(world: ControlPlane, step: int) -> Rollout:
    """Start a rollout and go on until a step has evidence from both workers."""
    await world.serve()
    world.repository.published["digits"] = [1, 2]
    name = (await world.operations.start(SPEC, "ada")).id
    return await until(world, name, lambda one: one.step == step and one.evidence.candidate.requests > 0)


@pytest.mark.parametrize("step", [0, 1, 2])
async def test_one_answer_that_is_not_finite_is_rolled_back_by_the_tick_after_its_report(step: int) -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        before = await in_step(world, step)
        world.workers[1].odd[2] = 1
        await world.tick()
        after = await world.rollout(before.id)
        assert after.phase is Phase.ROLLING_BACK
        assert after.verdict is not None
        assert [one.name for one in after.verdict.checks if one.outcome is Outcome.FAIL] == ["finite"]
        assert world.ledger.routes["digits"] == Route("digits", 1, versions=frozenset({1}))
        exposed = after.evidence.candidate.requests - before.evidence.candidate.requests
        assert exposed == len(world.workers) * world.per_tick * SPEC.steps[step].weight_percent // 100


async def test_it_is_rolled_back_also_while_a_person_holds_the_weight() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        before = await in_step(world, 1)
        await world.operations.steer(before.id, Event(EventKind.PAUSE, actor="ada"))
        world.workers[0].odd[2] = 1
        await world.tick()
        assert (await world.rollout(before.id)).phase is Phase.ROLLING_BACK


async def test_a_report_that_comes_late_costs_the_time_until_it_comes_and_one_tick() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        before = await in_step(world, 2)
        world.workers[1].odd[2], world.workers[1].mute = 1, True
        await world.tick(3)
        assert (await world.rollout(before.id)).phase is Phase.PROGRESSING
        world.workers[1].mute = False
        await world.tick()
        assert (await world.rollout(before.id)).phase is Phase.ROLLING_BACK


async def test_stable_s_own_odd_answer_is_no_harm_of_the_candidate() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        before = await in_step(world, 2)
        world.workers[0].odd[1] = 1
        await world.tick()
        world.workers[0].odd[2] = 1
        await world.tick(2)
        assert (await world.rollout(before.id)).phase is Phase.PROGRESSING
