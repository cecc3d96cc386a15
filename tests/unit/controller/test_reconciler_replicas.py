"""The reconciler over several Tritons: one of them is away, comes back empty, or has something of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.core.rollouts.event import Event, EventKind
from services.core.rollouts.rollout import Phase, Rollout
from services.core.rollouts.rollout_spec import RolloutSpec, Step
from tests.fakes.control_plane import ControlPlane, FakeRepository
from tests.fakes.model_server import FakeModelServer

pytestmark = pytest.mark.anyio

SPEC = RolloutSpec("digits", 2, steps=(Step(5, 5, 20), Step(25, 5, 20), Step(50, 5, 20)), max_step_duration_s=60)
ONE, BOTH = frozenset({1}), frozenset({1, 2})


def plane() -> ControlPlane:
    return ControlPlane(repository=FakeRepository(digits=[1]), further=[FakeModelServer(), FakeModelServer()])


async def started(world: ControlPlane, spec: RolloutSpec = SPEC) -> Rollout:
    await world.serve()
    world.repository.published["digits"] = [1, 2]
    return await world.operations.start(spec, "ada")


async def until(world: ControlPlane, rollout: Rollout, *phases: Phase) -> Rollout:
    for _ in range(300):
        now = await world.rollout(rollout.id)
        if now.phase in phases:
            return now
        await world.tick()
    raise AssertionError(f"{rollout.id} never came to {phases}: {now.phase}, {now.reason}")


def sets(world: ControlPlane) -> list[frozenset[int]]:
    return [server.versions.get("digits", frozenset()) for server in world.servers]


async def test_a_candidate_gets_weight_only_when_every_replica_has_it() -> None:
    async with plane() as world:
        rollout = await started(world)
        world.servers[1].stuck = {"digits"}
        await world.tick(20)
        assert (await world.rollout(rollout.id)).phase is Phase.PREPARING
        assert world.ledger.routes["digits"].weight_percent == 0


async def test_a_rollout_goes_its_way_while_a_replica_is_away() -> None:
    async with plane() as world:
        rollout = await started(world)
        world.servers[2].away = True
        assert (await until(world, rollout, Phase.PROMOTED)).phase is Phase.PROMOTED
        assert sets(world)[:2] == [{2}, {2}]


async def test_a_replica_that_comes_back_empty_gets_what_is_wanted_and_the_others_are_left_alone() -> None:
    async with plane() as world:
        rollout = await started(world, replace(SPEC, steps=(Step(5, 5, 100_000),)))
        await until(world, rollout, Phase.PROGRESSING)
        before = [list(server.loads) for server in world.servers]
        world.servers[1].away = True
        await world.tick(10)
        world.servers[1].restart()
        await world.tick(2)
        assert sets(world) == [BOTH, BOTH, BOTH]
        assert [server.loads for server in world.servers][::2] == before[::2]
        assert (await world.rollout(rollout.id)).phase is Phase.PROGRESSING


async def test_a_replica_that_comes_back_empty_in_a_drain_takes_nothing_from_the_others() -> None:
    async with plane() as world:
        rollout = await started(world, replace(SPEC, steps=(Step(5, 5, 100_000),)))
        await until(world, rollout, Phase.PROGRESSING)
        world.workers[0].deaf = True
        await world.operations.steer(rollout.id, Event(EventKind.ABORT, actor="ada"))
        await until(world, rollout, Phase.ABORTING)
        world.servers[1].restart()
        await world.tick(3)
        assert (await world.rollout(rollout.id)).phase is Phase.ABORTING
        assert sets(world) == [BOTH, ONE, BOTH]
        await until(world, rollout, Phase.ABORTED)
        await world.tick(3)
        assert sets(world) == [ONE, ONE, ONE]


async def test_a_replica_that_comes_back_with_an_old_version_gives_it_up() -> None:
    async with plane() as world:
        await world.serve()
        world.servers[2].versions["digits"] = BOTH
        await world.tick(2)
        assert sets(world) == [ONE, ONE, ONE]


async def test_a_replica_that_cannot_load_the_candidate_fails_the_rollout_and_is_named() -> None:
    async with plane() as world:
        rollout = await started(world)
        world.servers[1].broken = {("digits", 2): "out of memory"}
        over = await until(world, rollout, Phase.FAILED)
        assert over.reason == "version 2 cannot be loaded: b: version 2: out of memory"
        await world.tick(3)
        assert sets(world) == [ONE, ONE, ONE]


async def test_a_hanging_replica_does_not_keep_the_others_from_their_versions() -> None:
    async with plane() as world:
        rollout = await started(world)
        world.servers[2].silent = True
        assert (await until(world, rollout, Phase.PROMOTED)).phase is Phase.PROMOTED
        assert sets(world) == [{2}, {2}, ONE]
        world.servers[2].speak()
        await world.tick(3)
        assert sets(world) == [{2}, {2}, {2}]


async def test_which_replica_is_away_is_said_while_the_others_serve() -> None:
    async with plane() as world:
        await world.serve()
        assert world.overview.readiness()["triton"] == "ok"
        world.servers[2].away = True
        await world.tick()
        assert world.overview.readiness()["triton"] == "c: the fake Triton is away"
        metrics = world.metrics.text().decode()
        assert 'penstock_controller_triton_replica_up{replica="a"} 1.0' in metrics
        assert 'penstock_controller_triton_replica_up{replica="c"} 0.0' in metrics
        assert "penstock_controller_triton_up 1.0" in metrics
