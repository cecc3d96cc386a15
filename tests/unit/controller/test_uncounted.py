"""What a gateway worker has no room to count is no evidence, and while it saw more than it can tell nothing passes."""

from __future__ import annotations

import pytest

from services.core.analysis.verdict import Outcome
from services.core.rollouts.rollout import Phase, Rollout
from services.core.rollouts.rollout_spec import RolloutSpec, Step
from tests.fakes.control_plane import ControlPlane, FakeRepository
from tests.fakes.gateway_worker import FakeGatewayWorker

pytestmark = pytest.mark.anyio

SPEC = RolloutSpec("digits", 2, steps=(Step(20, 30, 20), Step(50, 30, 20)), max_step_duration_s=600)


async def begun(world: ControlPlane) -> Rollout:
    """Start a rollout of a good candidate and go on to its first step."""
    await world.serve()
    world.repository.published["digits"] = [1, 2]
    rollout = await world.operations.start(SPEC, "ada")
    while (await world.rollout(rollout.id)).phase is not Phase.PROGRESSING:
        await world.tick()
    return rollout


async def outcome(world: ControlPlane, rollout: Rollout) -> Phase:
    """Return the phase in which a rollout ends."""
    for _ in range(300):
        await world.tick()
        now = await world.rollout(rollout.id)
        if now.phase.terminal:
            return now.phase
    raise AssertionError(f"still {now.phase} at step {now.step + 1}: {now.verdict}")


async def test_nothing_passes_until_a_worker_without_room_is_replaced_and_people_are_told() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        rollout = await begun(world)
        full = world.workers[0]
        full.without_room = frozenset({"digits"})
        await world.tick(60)
        now = await world.rollout(rollout.id)
        assert (now.phase, now.step) == (Phase.PROGRESSING, 0)
        lines, _ = await world.insight.explain(rollout.id)
        assert lines[0].startswith(f"Waits for gateway worker {full.instance}, which has no room")
        assert world.overview.waits(now) == [lines[0].removeprefix("Waits for ").removesuffix(".")]
        full.mute = True
        world.workers.append(FakeGatewayWorker("its-successor"))
        assert await outcome(world, rollout) is Phase.PROMOTED


async def test_nothing_passes_either_after_a_restart_of_the_controller() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        rollout = await begun(world)
        await world.tick(25)  # enough to pass, were the step's time over
        for worker in world.workers:
            worker.without_room = frozenset({"digits"})
        await world.tick(10)
        for worker in world.workers:
            worker.mute = True
        await world.restart()
        await world.tick(8)
        now = await world.rollout(rollout.id)
        assert (now.step, now.verdict and now.verdict.outcome) == (0, Outcome.PASS)
        for worker in world.workers:
            worker.mute = False
        await world.tick(60)
        assert (await world.rollout(rollout.id)).step == 0


async def test_another_model_without_room_holds_up_nothing() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        rollout = await begun(world)
        world.workers[0].without_room = frozenset({"other"})
        assert await outcome(world, rollout) is Phase.PROMOTED


async def test_harm_that_another_worker_saw_rolls_back_all_the_same() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        rollout = await begun(world)
        world.workers[0].without_room = frozenset({"digits"})
        for worker in world.workers:
            worker.error[2] = 0.6
        assert await outcome(world, rollout) is Phase.ROLLED_BACK
