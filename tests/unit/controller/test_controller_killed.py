"""A controller killed at any write or load, before or after it took effect, resumes where it was."""

import pytest

from services.core.rollout import Phase
from services.core.rollout_spec import RolloutSpec, Step
from services.core.route import Role, Route
from services.core.verdict import Outcome
from tests.fakes.control_plane import ControlPlane, FakeRepository
from tests.fakes.kill_switch import Killed, KillSwitch

pytestmark = pytest.mark.anyio

SPEC = RolloutSpec("digits", 2, steps=(Step(10, 3, 20), Step(50, 3, 20)), max_step_duration_s=600)


async def run(switch: KillSwitch, candidate_error: float) -> ControlPlane:
    """Serve version 1, roll version 2 out to the end, and check at every tick what must always hold."""
    async with ControlPlane(repository=FakeRepository(digits=[1]), switch=switch) as world:
        for worker in world.workers:
            worker.error[2] = candidate_error
        await world.tick(14)
        world.repository.published["digits"] = [1, 2]
        try:
            await world.operations.start(SPEC, "ada")
        except Killed:
            await world.restart()
            await world.tick()
            if not await world.store.find("digits"):
                await world.operations.start(SPEC, "ada")
        weight = 0
        for _ in range(200):
            await world.tick()
            rollout = (await world.store.find("digits"))[0]
            book = await world.store.book()
            route = book.routes["digits"]
            check_evidence(world, rollout.evidence.stable.requests, Role.STABLE)
            check_evidence(world, rollout.evidence.candidate.requests, Role.CANDIDATE)
            if route.candidate is not None and route.weight_percent > weight:
                await check_raise(world, rollout.id, weight, route.weight_percent)
                weight = route.weight_percent
            if route.candidate is not None:
                assert world.server.versions["digits"] >= {1, 2}, "no weight without a loaded candidate"
            if rollout.phase.terminal and world.server.versions == {"digits": {route.stable}}:
                return world
        raise AssertionError(f"not over: {rollout.phase}, {rollout.reason}, loaded {world.server.versions}")


def check_evidence(world: ControlPlane, counted: int, role: Role) -> None:
    """No answer is counted twice."""
    truth = sum(
        tally.requests for worker in world.workers for (_, _, part), tally in worker.tallies.items() if part is role
    )
    assert counted <= truth


async def check_raise(world: ControlPlane, rollout_id: str, before: int, after: int) -> None:
    """The weight rose only on a transition that is stored, and after the first step only on a stored pass."""
    lines = await world.store.history(rollout_id)
    line = next(line for line in lines if line.target_weight_percent == after)
    if before:
        assert line.judged is not None
        assert line.judged.verdict.outcome is Outcome.PASS
        assert line.judged.replayed() == line.judged.verdict


async def operations_of(candidate_error: float) -> int:
    switch = KillSwitch()
    await run(switch, candidate_error)
    return switch.operations


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("candidate_error", "phase", "survivor"),
    [(0.0, Phase.PROMOTED, 2), (1.0, Phase.ROLLED_BACK, 1)],
    ids=["good candidate", "bad candidate"],
)
async def test_a_controller_killed_anywhere_goes_on_to_the_same_end(
    candidate_error: float, phase: Phase, survivor: int, after: bool
) -> None:
    operations = await operations_of(candidate_error)
    assert operations > 10
    for at in range(1, operations + 1):
        world = await run(KillSwitch(at, after=after), candidate_error)
        assert world.starts == 2, f"killed at operation {at}"
        rollouts = await world.store.find("digits")
        assert [each.phase for each in rollouts] == [phase], f"killed at operation {at}"
        book = await world.store.book()
        assert book.routes["digits"] == Route("digits", survivor, versions=frozenset({survivor}))
        lines = await world.store.history(rollouts[0].id)
        changes = [(line.source, line.target, line.target_weight_percent) for line in lines]
        assert len(changes) == len(set(changes)), f"killed at operation {at}, a change is told twice"


async def test_a_restart_forgets_no_answer_and_counts_none_twice() -> None:
    spec = RolloutSpec("digits", 2, steps=(Step(10, 1000, 20),))
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.tick(14)
        world.repository.published["digits"] = [1, 2]
        rollout = await world.operations.start(spec, "ada")
        await world.tick(10)
        before = (await world.rollout(rollout.id)).evidence.candidate.requests
        await world.restart()
        for worker in world.workers:  # while no controller runs, and the reports of this time are lost
            worker.answer("digits", 1000)
        for _ in range(4):  # nor do the workers find it at once
            world.clock.advance(1.0)
            await world.reconciler.tick()
        await world.tick(3)
        after = (await world.rollout(rollout.id)).evidence.candidate.requests
        assert after - before == len(world.workers) * (100 + 3 * 10)
