"""Warm-ups in the background: one per model, what passes is tried again, what is the version's own is kept."""

import asyncio

import pytest

from services.controller.versions.warmups import Warmups
from services.core.errors import IntegrityError, PenstockError, Unavailable, UpstreamFailure
from services.core.rollouts.event import Event, EventKind
from services.core.rollouts.rollout import Phase
from services.core.rollouts.rollout_spec import RolloutSpec, Step
from tests.fakes.clock import FakeClock
from tests.fakes.control_plane import ControlPlane, FakeRepository
from tests.fakes.warmer import FakeWarmer

pytestmark = pytest.mark.anyio
SPEC = RolloutSpec("digits", 2, steps=(Step(50, 2, 20),), max_step_duration_s=60)


async def test_a_warm_up_is_begun_once_and_its_result_given_once() -> None:
    warmer = FakeWarmer()
    async with Warmups(warmer, FakeClock()) as warmups:
        for _ in range(3):
            warmups.ensure("digits", (2,))
        await warmups.idle()
        warmups.ensure("digits", (2,))
        assert warmer.warmed == [("digits", 2)]
        assert warmups.take_result("digits", (3,)) is None
        warmups.ensure("digits", (2,))
        await warmups.idle()
        result = warmups.take_result("digits", (2,))
        assert result is not None
        assert result.warm
        assert "10.0 -> 2.0 ms, settled, 8 answers as when it was built" in result.words
        assert warmups.take_result("digits", (2,)) is None


@pytest.mark.parametrize("error", [IntegrityError("off by 7"), UpstreamFailure("no kernel")])
async def test_a_refusal_is_the_versions_own(error: PenstockError) -> None:
    warmer = FakeWarmer()
    warmer.refusals["digits", 2] = error
    async with Warmups(warmer, FakeClock()) as warmups:
        warmups.ensure("digits", (2,))
        await warmups.idle()
        result = warmups.take_result("digits", (2,))
        assert result is not None
        assert (result.warm, result.words) == (False, error.message)


async def test_a_triton_that_is_away_is_asked_again_a_little_later() -> None:
    warmer, clock = FakeWarmer(), FakeClock()
    warmer.refusals["digits", 2] = Unavailable("away")
    async with Warmups(warmer, clock) as warmups:
        for advance_s, times in ((0.0, 1), (1.0, 1), (1.5, 2)):
            clock.advance(advance_s)
            warmups.ensure("digits", (2,))
            await warmups.idle()
            assert len(warmer.warmed) == times
            assert warmups.take_result("digits", (2,)) is None


async def test_one_that_hangs_ends_with_its_time_or_its_owner() -> None:
    warmer = FakeWarmer()
    warmer.stuck = {"digits"}
    async with Warmups(warmer, FakeClock(), timeout_s=0.01) as warmups:
        warmups.ensure("digits", (2,))
        await warmups.idle()
        result = warmups.take_result("digits", (2,))
        assert result is not None
        assert "not warm within 0.01 s" in result.words
    async with Warmups(warmer, FakeClock()) as warmups:
        warmups.ensure("digits", (2,))
        await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if "warm digits" in task.get_name()]


async def test_a_lead_that_ends_leaves_no_result_behind() -> None:
    warmer = FakeWarmer()
    async with Warmups(warmer, FakeClock()) as warmups:
        warmups.ensure("digits", (2,))
        await warmups.idle()
        warmups.drop()
        assert warmups.take_result("digits", (2,)) is None
        warmups.ensure("digits", (2,))
        await warmups.idle()
        assert warmer.warmed == [("digits", 2)] * 2


async def test_a_candidate_that_answers_otherwise_than_when_it_was_built_never_gets_traffic() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2]
        world.warmer.refusals["digits", 2] = IntegrityError("output 'y' is off by 7")
        rollout = await world.operations.start(SPEC, "ada")
        await world.tick(10)
        over = await world.rollout(rollout.id)
        assert over.phase is Phase.FAILED
        assert "off by 7" in over.reason
        assert all(line.target_weight_percent == 0 for line in await world.operations.history(rollout.id))


async def test_what_an_earlier_rollout_found_says_nothing_of_a_later_one() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2]
        world.warmer.stuck = {"digits"}
        first = await world.operations.start(SPEC, "ada")
        await world.tick(4)
        assert (await world.rollout(first.id)).phase is Phase.WARMING
        await world.operations.steer(first.id, Event(EventKind.ABORT, "ada"))
        await world.tick()
        assert not [task for task in asyncio.all_tasks() if "warm digits" in task.get_name()], "it goes no further"
        await world.tick()
        world.warmer.stuck = set()
        second = await world.operations.start(SPEC, "ada")
        await world.tick(5)
        assert world.warmer.warmed == [("digits", 2)] * 2, "the version was unloaded in between"
        assert (await world.rollout(second.id)).phase is Phase.PROGRESSING


async def test_a_controller_that_was_killed_while_warming_warms_again() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2]
        world.warmer.stuck = {"digits"}
        rollout = await world.operations.start(SPEC, "ada")
        await world.tick(5)
        assert (await world.rollout(rollout.id)).phase is Phase.WARMING
        await world.restart()
        world.warmer.stuck = set()
        await world.tick(3)
        assert world.warmer.warmed == [("digits", 2)] * 2
        assert (await world.rollout(rollout.id)).phase is Phase.PROGRESSING
