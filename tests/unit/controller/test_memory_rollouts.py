"""Memory from the report to the rollback: room before a load, a leak while a step runs, and a controller that ends."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from itertools import pairwise

import pytest

from services.controller.storage.documents import decode_rollout, encode_rollout, judged_document, judged_from
from services.controller.versions.memory_watch import MemoryWatch
from services.controller.versions.preflights import Preflights
from services.controller.versions.repository_reads import RepositoryReads
from services.core.analysis.assessment import assess
from services.core.analysis.verdict import Outcome
from services.core.errors import NotFound
from services.core.memory.preflight import Need
from services.core.memory.report import MemoryReports, Space
from services.core.memory.terms import MIB, LeakCheck, MemoryTerms, OnUnknown
from services.core.rollouts.experiment import Experiment, OutcomeSpec
from services.core.rollouts.rollout import Phase, Rollout, new_rollout
from services.core.rollouts.rollout_spec import RolloutSpec, Step, Strategy
from services.core.route import Arm
from tests.fakes.clock import FakeClock
from tests.fakes.control_plane import ControlPlane, FakeRepository
from tests.fakes.memory_source import FakeMemorySource, modest_need

pytestmark = pytest.mark.anyio
WATCHED = MemoryTerms(leak_check=LeakCheck.REQUIRE, window_s=40.0, interval_s=1.0)
SPEC = RolloutSpec("digits", 2, steps=(Step(50, 2, 20),), max_step_duration_s=300, memory=WATCHED)


async def started(world: ControlPlane, spec: RolloutSpec = SPEC) -> str:
    await world.serve()
    world.repository.published["digits"] = [1, 2]
    return (await world.operations.start(spec, "ada")).id


async def until_over(world: ControlPlane, rollout_id: str, most: int = 200) -> Rollout:
    for _ in range(most):
        await world.tick()
        if (found := await world.rollout(rollout_id)).phase.terminal:
            return found
    raise AssertionError(f"still {found.phase} after {most} ticks: {found.reason}")


async def leak(world: ControlPlane, ticks: int, mib_per_tick: int = 2) -> None:
    for _ in range(ticks):
        world.memory.grown[2] = world.memory.grown.get(2, 0) + mib_per_tick * MIB
        await world.tick()


def world() -> ControlPlane:
    return ControlPlane(repository=FakeRepository(digits=[1]))


async def test_a_candidate_without_room_fails_before_anything_is_loaded() -> None:
    async with world() as plane:
        plane.memory.loaded = (1,)
        plane.memory.host = Space(8192 * MIB, 850 * MIB)
        rollout = await started(plane)
        loads = len(plane.server.loads)
        over = await until_over(plane, rollout, 6)
        assert over.phase is Phase.FAILED
        assert "t:8000 has 850 MiB left of 8.0 GiB, of which 819 MiB must stay free" in over.reason
        assert len(plane.server.loads) == loads
        assert plane.ledger.routes["digits"].stable == 1
        await plane.tick(10)
        assert (await plane.rollout(rollout)).phase is Phase.FAILED, "it is not tried again"
        plane.memory.host = Space(8192 * MIB, 1850 * MIB)
        again = await plane.operations.start(replace(SPEC, memory=MemoryTerms()), "ada")
        assert (await until_over(plane, again.id)).phase is Phase.PROMOTED
        lines = await plane.operations.history(again.id)
        assert "about 100 MiB are needed" in lines[1].reason


@pytest.mark.parametrize(("on_unknown", "phase"), [(OnUnknown.GO_ON, Phase.PROMOTED), (OnUnknown.REFUSE, Phase.FAILED)])
async def test_memory_that_nobody_knows_is_said_and_decided_as_asked(on_unknown: OnUnknown, phase: Phase) -> None:
    async with world() as plane:
        plane.memory.instead = MemoryReports(problems={"t:8000": "port 8003: nobody listens"})
        rollout = await started(plane, replace(SPEC, memory=MemoryTerms(on_unknown=on_unknown)))
        assert (await until_over(plane, rollout)).phase is phase
        words = [line.reason for line in await plane.operations.history(rollout)]
        assert any("memory not known: t:8000: port 8003: nobody listens" in reason for reason in words)


async def test_a_controller_that_ends_in_the_pre_flight_looks_again() -> None:
    async with world() as plane:
        rollout = await started(plane)
        await plane.tick()
        await plane.restart()
        await plane.tick(4)
        assert (await plane.rollout(rollout)).phase in {Phase.WARMING, Phase.PROGRESSING}


async def test_a_leak_rolls_back_and_its_verdict_can_be_made_again() -> None:
    async with world() as plane:
        rollout = await started(plane)
        await plane.tick(5)
        assert (await plane.rollout(rollout)).phase is Phase.PROGRESSING
        await leak(plane, 20)
        before = await plane.rollout(rollout)
        await plane.restart()
        await leak(plane, 40)
        over = await until_over(plane, rollout)
        assert over.phase is Phase.ROLLED_BACK
        assert "memory: on t:8000 the candidate went from" in over.reason
        judged = [line.judged for line in await plane.operations.history(rollout) if line.judged is not None]
        assert judged[-1].replayed() == judged[-1].verdict
        samples = judged[-1].seen.memory.servers["t:8000"].samples
        assert samples[0] == before.evidence.memory.servers["t:8000"].samples[0], "they outlived the controller"
        assert samples[-1].candidate_answers > samples[0].candidate_answers


async def test_a_steady_candidate_is_promoted_and_one_that_nobody_watched_is_not() -> None:
    async with world() as plane:
        assert (await until_over(plane, await started(plane))).phase is Phase.PROMOTED
    async with world() as plane:
        rollout = await started(plane)
        await plane.tick(4)
        plane.memory.instead = MemoryReports(problems={"t:8000": "nobody listens"})
        over = await until_over(plane, rollout, 400)
        assert over.phase is Phase.ROLLED_BACK
        assert "nobody listens" in over.reason
    async with world() as plane:
        plane.memory.instead = MemoryReports(problems={"t:8000": "nobody listens"})
        watching = replace(SPEC, memory=replace(WATCHED, leak_check=LeakCheck.WATCH))
        assert (await until_over(plane, await started(plane, watching))).phase is Phase.PROMOTED


async def test_explanations_say_how_long_memory_was_watched() -> None:
    async with world() as plane:
        rollout = await started(plane)
        await plane.tick(12)
        lines, _ = await plane.insight.explain(rollout)
        assert any("Of its memory: watched for " in line for line in lines)


async def test_the_course_of_memory_is_stored_as_it_is() -> None:
    async with world() as plane:
        rollout = await started(plane)
        await plane.tick(12)
        stored = await plane.rollout(rollout)
        assert stored.evidence.memory.servers
        assert decode_rollout(encode_rollout(stored)) == stored


async def test_what_was_stored_before_memory_was_asked_for_is_read_and_replayed() -> None:
    async with world() as plane:
        unasked = replace(SPEC, memory=MemoryTerms(leak_check=LeakCheck.OFF))
        over = await until_over(plane, await started(plane, unasked))
        stored = json.loads(encode_rollout(over))
        del stored["spec"]["memory"], stored["evidence"]["memory"]
        assert decode_rollout(json.dumps(stored)) == over
        judged = [line.judged for line in await plane.operations.history(over.id) if line.judged is not None]
        record = judged_document(judged[-1])
        assert record is not None
        del record["terms"]["memory"], record["memory"]
        assert judged_from(record) == judged[-1]


TEST = RolloutSpec(
    "digits",
    2,
    Strategy.AB,
    (Step(30, 5, 20),),
    max_step_duration_s=600,
    experiment=Experiment(OutcomeSpec("clicked"), (Arm(3, 30), Arm(4, 10)), min_outcomes=50),
    memory=WATCHED,
)


async def started_test(world: ControlPlane, spec: RolloutSpec = TEST) -> str:
    await world.serve()
    world.repository.published["digits"] = [1, 2, 3, 4]
    return (await world.operations.start(spec, "ada")).id


async def test_arms_that_do_not_fit_together_are_not_loaded() -> None:
    async with world() as plane:
        plane.memory.loaded = (1,)
        # Each takes about 100 MiB.
        plane.memory.host = Space(8192 * MIB, 819 * MIB + 250 * MIB)
        over = await until_over(plane, await started_test(plane), 6)
        assert over.phase is Phase.FAILED
        for version in (2, 3, 4):
            assert f"version {version} needs about 100 MiB" in over.reason
        assert "about 300 MiB are needed in all" in over.reason
        assert {versions for _, versions in plane.server.loads} == {frozenset({1})}
    async with world() as plane:
        plane.memory.loaded = (1,)
        plane.memory.host = Space(8192 * MIB, 820 * MIB + 300 * MIB)
        rollout = await started_test(plane)
        await plane.tick(6)
        assert (await plane.rollout(rollout)).phase is Phase.PROGRESSING


async def test_a_leak_of_a_further_arm_rolls_back_names_it_and_outlives_the_controller() -> None:
    async with world() as plane:
        rollout = await started_test(plane)
        await plane.tick(6)
        for tick in range(60):
            plane.memory.grown[4] = plane.memory.grown.get(4, 0) + 2 * MIB
            await plane.tick()
            if tick == 20:
                before = await plane.rollout(rollout)
                lines, _ = await plane.insight.explain(rollout)
                assert any("Of version 4's memory: watched for " in line for line in lines)
                await plane.restart()
        over = await until_over(plane, rollout)
        assert over.phase is Phase.ROLLED_BACK
        assert "memory: on t:8000 version 4 went from" in over.reason
        assert over.verdict is not None
        assert [check.name for check in over.verdict.checks if check.outcome is Outcome.FAIL] == ["memory of 4"]
        judged = [line.judged for line in await plane.operations.history(rollout) if line.judged is not None]
        assert judged[-1].replayed() == judged[-1].verdict
        samples = judged[-1].seen.arms_memory[4].servers["t:8000"].samples
        assert samples[0] == before.evidence.arms_memory[4].servers["t:8000"].samples[0]
        assert samples[-1].candidate_answers > samples[0].candidate_answers
        stored = await plane.rollout(rollout)
        assert decode_rollout(encode_rollout(stored)) == stored


async def test_a_test_that_was_stored_before_arms_were_watched_is_read_and_replays_as_it_was() -> None:
    async with world() as plane:
        rollout = await started_test(plane)
        await plane.tick(12)
        now = await plane.rollout(rollout)
        assert now.evidence.arms_memory.keys() == {3, 4}
        stored = json.loads(encode_rollout(now))
        del stored["evidence"]["arms_memory"]
        read = decode_rollout(json.dumps(stored))
        assert read == replace(now, evidence=replace(now.evidence, arms_memory={}))
        old = assess(read.terms, read.evidence.seen)
        assert [check.name for check in old.checks if check.name.startswith("memory")] == ["memory"]


class _Stuck(FakeMemorySource):
    async def reports(self) -> MemoryReports:
        self.looks += 1
        await asyncio.Event().wait()
        return MemoryReports()


async def test_nothing_is_left_behind_by_a_rollout_that_is_over_or_a_lead_that_ends() -> None:
    source, clock = _Stuck(), FakeClock()
    rollout = new_rollout(SPEC, 1, clock())
    async with (
        MemoryWatch(source, clock, clock.monotonic) as watch,
        Preflights(source, modest_need, RepositoryReads()) as preflights,
    ):
        assert watch.take(rollout) is None
        preflights.ensure(rollout)
        preflights.ensure(rollout)
        await asyncio.sleep(0.05)
        assert source.looks == 2
        watch.keep({"digits-7"})
        preflights.drop()
        await watch.idle()
        await preflights.idle()
        assert (watch.take(rollout), preflights.result(rollout)) == (None, None)
    assert not [task for task in asyncio.all_tasks() if "digits" in task.get_name()]


async def test_a_repository_that_cannot_be_read_leaves_the_reason_to_the_load() -> None:
    def lost(model: str, stable: int, challengers: tuple[int, ...]) -> Need:
        raise NotFound(f"model '{model}' has no version {challengers[0]}")

    rollout = new_rollout(SPEC, 1, 0.0)
    async with Preflights(FakeMemorySource(), lost, RepositoryReads()) as preflights:
        preflights.ensure(rollout)
        await preflights.idle()
        found = preflights.result(rollout)
    assert found is not None
    assert found.may_load
    assert "has no version 2" in found.text


async def test_a_repository_that_does_not_answer_is_waited_for() -> None:
    answers = threading.Event()

    def late(model: str, stable: int, challengers: tuple[int, ...]) -> Need:
        answers.wait(20)
        return modest_need(model, stable, challengers)

    rollout = new_rollout(SPEC, 1, 0.0)
    async with Preflights(FakeMemorySource(), late, RepositoryReads(timeout_s=0.05)) as preflights:
        for _ in range(10):
            preflights.ensure(rollout)
            await preflights.idle()
            assert preflights.result(rollout) is None, "nothing is loaded from a repository that says nothing"
        answers.set()
        while preflights.result(rollout) is None:
            preflights.ensure(rollout)
            await preflights.idle()


async def test_a_repository_that_refuses_to_be_read_leaves_the_reason_to_the_load_too() -> None:
    def denied(model: str, stable: int, challengers: tuple[int, ...]) -> Need:
        raise PermissionError(13, "Permission denied", f"/models/{model}")

    rollout = new_rollout(SPEC, 1, 0.0)
    async with Preflights(FakeMemorySource(), denied, RepositoryReads()) as preflights:
        preflights.ensure(rollout)
        await preflights.idle()
        found = preflights.result(rollout)
    assert found is not None
    assert "Permission denied" in found.text


async def looked(watch: MemoryWatch, rollout: Rollout) -> Rollout:
    """Take what was seen into the evidence, as a tick does, and let what is due be looked at."""
    reading, evidence = watch.take(rollout), rollout.evidence
    if reading is not None:
        evidence = evidence.with_memory(reading, ("digits", 1), ("digits", 2))
    await watch.idle()
    return replace(rollout, evidence=evidence)


@pytest.mark.parametrize("by_s", [-600.0, 600.0])
async def test_samples_are_as_far_apart_as_they_were_taken_whoever_sets_the_clock(by_s: float) -> None:
    clock = FakeClock()
    rollout = new_rollout(replace(SPEC, memory=replace(WATCHED, interval_s=2.0)), 1, clock())
    async with MemoryWatch(FakeMemorySource(), clock, clock.monotonic) as watch:
        for seconds in range(10):
            if seconds == 4:
                clock.set(by_s)
            rollout = await looked(watch, rollout)
            clock.advance(1.0)
    [known] = rollout.evidence.memory.servers.values()
    gaps = [after.at - before.at for before, after in pairwise(known.samples)]
    assert gaps == [2.0] * len(gaps)
    assert len(gaps) >= 2


async def test_memory_is_looked_at_where_the_look_before_seems_to_be_in_the_future() -> None:
    clock, source = FakeClock(), FakeMemorySource()
    rollout = new_rollout(replace(SPEC, memory=replace(WATCHED, interval_s=2.0)), 1, clock())
    async with MemoryWatch(source, clock, clock.monotonic) as watch:
        rollout = await looked(watch, await looked(watch, rollout))
    clock.set(-600.0)
    async with MemoryWatch(source, clock, clock.monotonic) as another:
        rollout = await looked(another, await looked(another, rollout))
    [known] = rollout.evidence.memory.servers.values()
    assert [after.at - before.at for before, after in pairwise(known.samples)] == [2.0]
