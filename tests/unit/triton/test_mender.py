from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from services.core.errors import UpstreamFailure
from services.triton.mender import Mender
from services.triton.stub_watch import Stubs, processes_of
from tests.fakes.clock import FakeClock
from tests.fakes.model_server import FakeModelServer

pytestmark = pytest.mark.anyio
ONE, TWO, BOTH = frozenset({1}), frozenset({2}), frozenset({1, 2})


class World:
    """A Triton with two versions of model m, two processes each, and one of model native, which has none."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.server = FakeModelServer()
        self.server.versions = {"m": BOTH, "native": ONE}
        self.looks = 0
        self.ended = 1
        self.living = Counter({("m", 1): 2, ("m", 2): 2})
        self.mender = Mender(self.server, self.look, self.processes, self.clock, lambda: 0.0)

    def look(self) -> Stubs:
        self.looks += 1
        return Stubs(Counter(self.living), self.ended)

    async def processes(self, model: str, version: int) -> int:
        assert version in self.server.versions[model]
        return 2 if model == "m" else 0

    @property
    def loads(self) -> list[tuple[str, frozenset[int]]]:
        return self.server.loads


@pytest.mark.parametrize("living", [0, 1])
async def test_the_version_that_lacks_a_process_is_taken_out_and_put_back_alone(living: int) -> None:
    world = World()
    world.living["m", 1] = living
    await world.mender.look()
    assert world.loads == [("m", TWO), ("m", BOTH)]


async def test_while_no_process_has_ended_triton_is_not_even_asked() -> None:
    world = World()
    world.ended = 0
    await world.mender.look()
    assert (world.server.asked, world.loads) == (0, [])


async def test_what_ended_because_it_was_unloaded_is_not_mended() -> None:
    world = World()
    world.server.versions = {"m": TWO}
    world.living["m", 1] = 0
    await world.mender.look()
    assert world.loads == []


async def test_what_ended_and_was_replaced_since_is_not_mended() -> None:
    world = World()
    world.ended = 4
    await world.mender.look()
    assert world.loads == []


async def test_a_process_that_comes_while_triton_is_asked_counts() -> None:
    world = World()
    world.living["m", 1] = 0

    async def come(model: str, version: int) -> int:
        world.living["m", 1] = 2
        return await world.processes(model, version)

    await Mender(world.server, world.look, come, world.clock).look()
    assert (world.looks, world.loads) == (2, [])


async def test_two_broken_versions_of_a_model_are_mended_together() -> None:
    world = World()
    world.living.clear()
    await world.mender.look()
    assert world.loads == [("m", frozenset()), ("m", BOTH)]


async def test_a_process_that_keeps_dying_is_put_back_less_and_less_often_but_always_again() -> None:
    world = World()
    world.living["m", 1] = 0
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
    world.living["m", 1] = 0
    await world.mender.look()
    world.loads.clear()
    world.living["m", 2] = 0
    await world.mender.look()
    assert world.loads == [("m", ONE), ("m", BOTH)]


async def test_what_somebody_else_loads_meanwhile_stays() -> None:
    world = World()
    world.living["m", 1] = 0

    async def loads_a_third(model: str, version: int) -> int:
        needed = await world.processes(model, version)
        world.server.versions["m"] = frozenset({1, 2, 3})
        world.living["m", 3] = 2
        return needed

    await Mender(world.server, world.look, loads_a_third, world.clock).look()
    assert world.loads == [("m", frozenset({2, 3})), ("m", frozenset({1, 2, 3}))]


async def test_a_failure_to_put_it_back_is_told_and_tried_again_later(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.living["m", 1] = 0
    world.server.away = True
    await world.mender.look()
    assert "whose it was cannot be seen: the fake Triton is away" in caplog.text
    world.server.away = False
    world.server.broken = {("m", 1): "out of memory"}
    await world.mender.look()
    assert "version 1 not loaded again: version 1: out of memory" in caplog.text
    world.server.broken = {}
    world.server.versions["m"] = BOTH
    world.clock.advance(2.0)
    await world.mender.look()
    assert world.loads[-2:] == [("m", TWO), ("m", BOTH)]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"backend": "python", "instance_group": [{"kind": "KIND_CPU", "count": 2, "gpus": []}]}, 2),
        ({"backend": "python", "instance_group": [{"kind": "KIND_GPU", "count": 2, "gpus": [0, 1]}, {"count": 1}]}, 5),
        ({"backend": "tensorrt", "instance_group": [{"kind": "KIND_GPU", "count": 2, "gpus": [0]}]}, 0),
    ],
)
def test_a_python_based_version_has_a_process_for_each_instance(config: dict[str, object], expected: int) -> None:
    assert processes_of(config, lambda backend: backend == "python") == expected


@pytest.mark.parametrize("config", [{}, {"backend": "python"}, {"backend": "python", "instance_group": [3]}])
def test_a_configuration_that_makes_no_sense_is_the_servers_failure(config: dict[str, object]) -> None:
    with pytest.raises(UpstreamFailure, match="makes no sense"):
        processes_of(config, lambda _: True)
