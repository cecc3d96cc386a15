from __future__ import annotations

from itertools import pairwise

import pytest

from services.triton.mender import Mender
from services.triton.stub_watch import ModelVersion
from tests.fakes.clock import FakeClock
from tests.fakes.model_server import FakeModelServer

pytestmark = pytest.mark.anyio
ONE, TWO, BOTH = frozenset({1}), frozenset({2}), frozenset({1, 2})


class FakeProcesses:
    """Processes of Python-based models, of which some are dead."""

    def __init__(self) -> None:
        self.living: frozenset[ModelVersion] = frozenset()
        self.strangers = 0
        self.died: frozenset[ModelVersion] = frozenset()

    def dead(self) -> frozenset[ModelVersion]:
        return self.died


class World:
    """A Triton with two versions of model m and one of model native, which has no processes."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.server = FakeModelServer()
        self.server.versions = {"m": BOTH, "native": ONE}
        self.processes = FakeProcesses()
        self.mender = Mender(self.server, self.processes, lambda model: model == "m", self.clock, lambda: 0.0)

    @property
    def loads(self) -> list[tuple[str, frozenset[int]]]:
        return self.server.loads


async def test_the_version_whose_process_died_is_taken_out_and_put_back_alone() -> None:
    world = World()
    world.processes.died = frozenset({("m", 1)})
    await world.mender.look()
    assert world.loads == [("m", TWO), ("m", BOTH)]


async def test_with_nothing_dead_triton_is_not_even_asked() -> None:
    world = World()
    await world.mender.look()
    assert (world.server.asked, world.loads) == (0, [])


async def test_a_version_that_is_not_ready_is_being_unloaded_by_somebody() -> None:
    world = World()
    world.server.versions = {"m": TWO}
    world.processes.died = frozenset({("m", 1)})
    await world.mender.look()
    assert world.loads == []


async def test_two_dead_versions_of_a_model_are_mended_together() -> None:
    world = World()
    world.processes.died = frozenset({("m", 1), ("m", 2)})
    await world.mender.look()
    assert world.loads == [("m", frozenset()), ("m", BOTH)]


async def test_a_process_that_keeps_dying_is_put_back_less_and_less_often_but_always_again() -> None:
    world = World()
    world.processes.died = frozenset({("m", 1)})
    mended_at = []
    for second in range(300):
        before = len(world.loads)
        await world.mender.look()
        if len(world.loads) > before:
            mended_at.append(second)
        world.clock.advance(1.0)
    gaps = [after - before for before, after in pairwise(mended_at)]
    assert (mended_at[0], gaps[:5]) == (0, [2, 4, 8, 16, 32])
    assert set(gaps[5:]) == {60}


async def test_one_version_that_keeps_dying_does_not_delay_another() -> None:
    world = World()
    world.processes.died = frozenset({("m", 1)})
    await world.mender.look()
    world.loads.clear()
    world.processes.died = BOTH_DEAD
    await world.mender.look()
    assert world.loads == [("m", ONE), ("m", BOTH)]


BOTH_DEAD = frozenset({("m", 1), ("m", 2)})


async def test_a_stranger_belongs_to_the_version_that_has_no_process() -> None:
    world = World()
    world.processes.strangers = 1
    world.processes.living = frozenset({("m", 1)})
    await world.mender.look()
    assert world.loads == [("m", ONE), ("m", BOTH)]


async def test_a_failure_to_put_it_back_is_tried_again_by_a_later_look(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.processes.died = frozenset({("m", 1)})
    world.server.away = True
    await world.mender.look()
    world.server.away = False
    world.server.broken = {("m", 1): "out of memory"}
    await world.mender.look()
    assert "version 1 not loaded again: version 1: out of memory" in caplog.text
    world.server.broken = {}
    world.server.versions["m"] = BOTH
    world.clock.advance(2.0)
    await world.mender.look()
    assert world.loads[-2:] == [("m", TWO), ("m", BOTH)]
