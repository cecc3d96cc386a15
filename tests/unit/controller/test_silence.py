"""Without evidence nothing is promoted: metrics cut, gateways gone, no traffic, in whichever step it begins."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from services.core.rollouts.rollout import Phase, Rollout
from services.core.rollouts.rollout_spec import OnInconclusive, RolloutSpec, Step
from services.core.route import Route
from tests.fakes.control_plane import ControlPlane, FakeRepository

pytestmark = pytest.mark.anyio

SPEC = RolloutSpec("digits", 2, steps=(Step(5, 5, 20), Step(25, 5, 20), Step(50, 5, 20)), max_step_duration_s=60)
_PROMOTED = {Phase.PROMOTING, Phase.PROMOTED}


def metrics_cut(world: ControlPlane) -> None:
    for worker in world.workers:
        worker.mute = True


def gateways_gone(world: ControlPlane) -> None:
    world.workers.clear()


def no_traffic(world: ControlPlane) -> None:
    world.per_tick = 0


Silence = Callable[[ControlPlane], None]
SILENCES = [metrics_cut, gateways_gone, no_traffic]


async def in_step(world: ControlPlane, spec: RolloutSpec, step: int) -> Rollout:
    """Start a rollout of a good candidate and go on to the beginning of a step."""
    await world.serve()
    world.repository.published["digits"] = [1, 2]
    rollout = await world.operations.start(spec, "ada")
    while (await world.rollout(rollout.id)).phase is not Phase.PROGRESSING:
        await world.tick()
    while (await world.rollout(rollout.id)).step < step:
        await world.tick()
    return await world.rollout(rollout.id)


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("silence", SILENCES)
async def test_silence_takes_the_candidate_back_and_raises_no_weight(silence: Silence, step: int) -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        rollout = await in_step(world, SPEC, step)
        silence(world)
        for _ in range(200):
            await world.tick()
            now = await world.rollout(rollout.id)
            assert now.phase not in _PROMOTED
            assert now.step == step
            assert world.ledger.routes["digits"].weight_percent <= SPEC.steps[step].weight_percent
            if now.phase.terminal:
                break
        assert now.phase is Phase.ROLLED_BACK
        assert now.reason.startswith("inconclusive")
        assert world.ledger.routes["digits"] == Route("digits", 1, versions=frozenset({1}))


@pytest.mark.parametrize("silence", SILENCES)
async def test_silence_holds_the_weight_for_a_person_where_that_was_asked_for(silence: Silence) -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        rollout = await in_step(world, replace(SPEC, on_inconclusive=OnInconclusive.PAUSE), 1)
        silence(world)
        await world.tick(300)
        held = await world.rollout(rollout.id)
        assert (held.phase, held.weight_percent) == (Phase.PAUSED, 25)


@pytest.mark.parametrize("silence", SILENCES)
async def test_a_restart_of_the_controller_makes_no_evidence_of_silence(silence: Silence) -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        rollout = await in_step(world, SPEC, 2)
        before = (await world.rollout(rollout.id)).evidence.candidate.requests
        silence(world)
        for _ in range(8):
            await world.restart()
            await world.tick(15)
            now = await world.rollout(rollout.id)
            assert now.phase not in _PROMOTED
            if now.phase.weighted:
                assert now.evidence.candidate.requests <= before + 2 * 100, "what was reported before, and no more"
        assert now.phase is Phase.ROLLED_BACK


async def test_silence_before_the_candidate_has_any_weight_gives_it_none() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2]
        world.server.stuck = {"digits"}
        rollout = await world.operations.start(SPEC, "ada")
        for _ in range(90):
            await world.tick()
            assert world.ledger.routes["digits"] == Route("digits", 1, versions=frozenset({1}))
        assert (await world.rollout(rollout.id)).phase is Phase.FAILED
