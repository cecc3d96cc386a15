"""Versions that answer some inputs with a NaN by design, from the gateways' reports to the verdict on record."""

from __future__ import annotations

import pytest

from services.core.analysis.verdict import Outcome
from services.core.rollouts.rollout import Phase, Rollout
from services.core.rollouts.rollout_spec import AnalysisConfig, RolloutSpec, Step, Strategy
from tests.fakes.control_plane import ControlPlane, FakeRepository

pytestmark = pytest.mark.anyio

# Wide enough for a proof within a hundred ticks of 100 requests.
CONFIG = AnalysisConfig(max_error_increase=0.1, max_non_finite_increase=0.1, max_disagreement=0.1, max_stable_error=0.2)
CANARY = RolloutSpec("digits", 2, analysis=CONFIG, steps=(Step(10, 5, 50), Step(50, 5, 50)))
BLUE_GREEN = RolloutSpec(
    "digits",
    2,
    strategy=Strategy.BLUE_GREEN,
    analysis=CONFIG,
    steps=(Step(0, 5, 50, mirror_percent=100), Step(100, 5, 50, mirror_percent=50)),
)
SHADOW = RolloutSpec(
    "digits", 2, strategy=Strategy.SHADOW, analysis=CONFIG, steps=(Step(0, 5, 50, mirror_percent=100),)
)


def plane(stable: float, candidate: float) -> ControlPlane:
    world = ControlPlane(repository=FakeRepository(digits=[1]))
    for worker in world.workers:
        worker.masked = {1: stable, 2: candidate}
    return world


async def started(world: ControlPlane, spec: RolloutSpec) -> str:
    await world.serve()
    world.repository.published["digits"] = [1, 2]
    return (await world.operations.start(spec, "ada")).id


async def until(world: ControlPlane, rollout: str, *phases: Phase, step: int = 0) -> Rollout:
    for _ in range(300):
        await world.tick()
        found = await world.rollout(rollout)
        if found.phase in phases and found.step >= step:
            return found
    raise AssertionError(f"{found.phase} after 300 ticks: {found.reason}")


def failed(rollout: Rollout) -> list[str]:
    assert rollout.verdict is not None
    return [check.name for check in rollout.verdict.checks if check.outcome is Outcome.FAIL]


@pytest.mark.parametrize(
    ("spec", "phase"), [(CANARY, Phase.PROMOTED), (BLUE_GREEN, Phase.PROMOTED), (SHADOW, Phase.CONCLUDED)]
)
async def test_a_candidate_that_gives_them_where_stable_does_is_promoted(spec: RolloutSpec, phase: Phase) -> None:
    async with plane(0.1, 0.1) as world:
        rollout = await started(world, spec)
        over = await until(world, rollout, Phase.PROMOTED, Phase.CONCLUDED, Phase.ROLLED_BACK)
        assert over.phase is phase, over.reason
        judged = [line.judged for line in await world.operations.history(rollout) if line.judged is not None]
        assert judged
        for one in judged:
            assert one.replayed() == one.verdict
        if spec is BLUE_GREEN:
            assert judged[-1].seen.stable_non_finite_before > 0


@pytest.mark.parametrize("spec", [BLUE_GREEN, SHADOW])
async def test_one_that_gives_them_for_further_inputs_is_found_by_its_first_copies(spec: RolloutSpec) -> None:
    async with plane(0.1, 0.12) as world:
        rollout = await started(world, spec)
        over = await until(world, rollout, Phase.ROLLING_BACK, Phase.PROMOTING, Phase.CONCLUDING)
        assert (over.phase, over.step, failed(over)) == (Phase.ROLLING_BACK, 0, ["finite"])
        assert "where stable gave another value" in over.reason


async def test_a_canary_that_gives_surely_more_of_them_is_rolled_back() -> None:
    async with plane(0.1, 0.5) as world:
        over = await until(world, await started(world, CANARY), Phase.ROLLING_BACK, Phase.PROMOTING)
        assert over.phase is Phase.ROLLING_BACK
        assert "finite" in failed(over)


async def test_after_the_switch_one_that_the_old_version_never_gave_is_rolled_back_by_the_next_tick() -> None:
    async with plane(0.0, 0.0) as world:
        rollout = await started(world, BLUE_GREEN)
        await until(world, rollout, Phase.PROGRESSING, step=1)
        await world.tick()
        world.workers[0].odd[2] = 1
        await world.tick()
        over = await world.rollout(rollout)
        assert (over.phase, failed(over)) == (Phase.ROLLING_BACK, ["finite"])


async def test_after_the_switch_a_fault_beside_those_by_design_is_rolled_back_by_its_first_copy() -> None:
    async with plane(0.1, 0.1) as world:
        rollout = await started(world, BLUE_GREEN)
        await until(world, rollout, Phase.PROGRESSING, step=1)
        await world.tick()
        world.workers[0].masked[2] = 0.2
        await world.tick()
        over = await world.rollout(rollout)
        assert (over.phase, failed(over)) == (Phase.ROLLING_BACK, ["finite"])


async def test_that_stable_gives_them_is_remembered_by_a_controller_that_was_killed() -> None:
    async with plane(0.1, 0.1) as world:
        rollout = await started(world, BLUE_GREEN)
        await until(world, rollout, Phase.PROGRESSING, step=1)
        before = (await world.rollout(rollout)).evidence.stable_non_finite_before
        await world.restart()
        over = await until(world, rollout, Phase.PROMOTED, Phase.ROLLED_BACK)
        assert over.phase is Phase.PROMOTED, over.reason
        assert over.evidence.stable_non_finite_before >= before > 0
