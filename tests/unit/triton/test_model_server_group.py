"""Several model servers as one, on fakes: what one replica's absence, return and failure mean for the whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.core.errors import DeadlineExceeded, NotFound, PenstockError, Unavailable, UpstreamFailure
from services.core.inventory import Inventory
from services.triton.model_server import NOTHING
from services.triton.model_server_group import ModelServerGroup
from tests.fakes.clock import FakeClock
from tests.fakes.model_server import FakeMembers, FakeModelServer

pytestmark = pytest.mark.anyio
ONE, TWO, BOTH = frozenset({1}), frozenset({2}), frozenset({1, 2})


class World:
    """Three replicas that have version 1 of model m, and their group."""

    def __init__(self, replicas: int = 3) -> None:
        self.clock = FakeClock()
        self.servers = [FakeModelServer() for _ in range(replicas)]
        for server in self.servers:
            server.versions = {"m": ONE}
        self.members = FakeMembers(self.servers)
        self.group = ModelServerGroup(self.members, look_timeout_s=0.05, patience_s=3.0, clock=self.clock)

    @property
    def loads(self) -> list[list[frozenset[int]]]:
        return [[versions for _, versions in server.loads] for server in self.servers]

    async def loaded(self) -> frozenset[int]:
        return (await self.group.loaded()).everywhere("m")


@asynccontextmanager
async def world(replicas: int = 3) -> AsyncIterator[World]:
    made = World(replicas)
    try:
        yield made
    finally:
        await made.group.aclose()


async def test_loaded_is_what_every_replica_has() -> None:
    async with world() as seen:
        seen.servers[1].versions = {"m": BOTH}
        inventory = await seen.group.loaded()
        assert (inventory.everywhere("m"), inventory.somewhere("m")) == (ONE, BOTH)
        assert set(inventory.servers) == {"a", "b", "c"}


async def test_a_replica_that_is_away_is_no_veto() -> None:
    async with world() as seen:
        seen.servers[2].away = True
        await seen.group.load("m", BOTH)
        assert await seen.loaded() == BOTH


async def test_a_replica_that_missed_one_look_counts_as_it_was_and_later_not_at_all() -> None:
    async with world() as seen:
        await seen.loaded()
        seen.servers[2].away = True
        await seen.group.load("m", BOTH)
        assert await seen.loaded() == ONE
        seen.clock.advance(3.0)
        assert await seen.loaded() == BOTH
        assert (await seen.group.loaded()).away == {"c": "the fake Triton is away"}


async def test_a_replica_that_comes_back_empty_is_seen_to_lack_everything_at_the_next_look() -> None:
    async with world() as seen:
        await seen.loaded()
        seen.servers[0].away = True
        seen.clock.advance(10.0)
        assert await seen.loaded() == ONE
        seen.servers[0].restart()
        assert await seen.loaded() == NOTHING


async def test_what_a_replica_has_already_is_not_loaded_again() -> None:
    async with world() as seen:
        seen.servers[1].restart()
        await seen.group.load("m", ONE)
        assert seen.loads == [[], [ONE], []]
        assert await seen.loaded() == ONE


async def test_what_is_tolerated_stays_on_the_replicas_that_have_it_and_on_no_other() -> None:
    async with world() as seen:
        seen.servers[0].versions = {"m": BOTH}
        seen.servers[1].restart()
        await seen.group.load("m", ONE, tolerated=BOTH)
        assert [server.versions["m"] for server in seen.servers] == [BOTH, ONE, ONE]
        assert seen.loads == [[], [ONE], []]


async def test_a_replica_with_too_much_loses_it() -> None:
    async with world() as seen:
        seen.servers[2].versions = {"m": BOTH}
        await seen.group.load("m", ONE)
        assert seen.loads == [[], [], [ONE]]


async def test_a_version_that_is_ready_nowhere_is_tried_on_one_replica_first() -> None:
    async with world() as seen:
        for server in seen.servers:
            server.broken = {("m", 2): "no such operator"}
        with pytest.raises(UpstreamFailure, match=r"^a: version 2: no such operator$"):
            await seen.group.load("m", BOTH)
        assert seen.loads == [[BOTH], [], []]


async def test_a_version_that_is_ready_somewhere_goes_to_all_others_at_once() -> None:
    async with world() as seen:
        seen.servers[0].versions = {"m": BOTH}
        seen.servers[1].broken = {("m", 2): "out of memory"}
        with pytest.raises(UpstreamFailure, match=r"^b: version 2: out of memory$"):
            await seen.group.load("m", BOTH)
        assert [server.versions["m"] for server in seen.servers] == [BOTH, ONE, BOTH]


async def test_what_several_replicas_say_alike_is_said_once_and_a_refusal_counts_over_an_absence() -> None:
    async with world() as seen:
        seen.servers[0].versions = {"m": TWO}
        for server in seen.servers[1:]:
            server.broken = {("m", 2): "out of memory"}
        with pytest.raises(UpstreamFailure, match=r"^b, c: version 2: out of memory$"):
            await seen.group.load("m", TWO)


async def test_a_group_of_one_says_what_its_only_member_says() -> None:
    async with world(1) as seen:
        seen.servers[0].broken = {("m", 2): "out of memory"}
        with pytest.raises(UpstreamFailure, match=r"^version 2: out of memory$"):
            await seen.group.load("m", BOTH)


async def test_with_every_replica_away_it_says_so_of_each() -> None:
    async with world() as seen:
        for server in seen.servers:
            server.away = True
        for ask in (seen.group.loaded, lambda: seen.group.load("m", ONE), lambda: seen.group.unload("m")):
            with pytest.raises(Unavailable, match=r"^a, b, c: the fake Triton is away$"):
                await ask()
        assert not await seen.group.ready()


async def test_a_group_without_members_is_unavailable() -> None:
    async with world(0) as seen:
        with pytest.raises(Unavailable, match="no Triton is known yet"):
            await seen.group.loaded()


async def test_a_replica_that_hangs_is_asked_once_until_it_answers() -> None:
    async with world() as seen:
        await seen.loaded()
        seen.servers[1].silent = True
        seen.clock.advance(10.0)
        for _ in range(5):
            assert await seen.loaded() == ONE
        assert seen.servers[1].asked == 2
        assert "no answer" in (await seen.group.loaded()).away["b"]


async def test_a_hang_that_ends_counts_only_by_what_is_there_then() -> None:
    async with world() as seen:
        await seen.loaded()
        seen.servers[1].silent = True
        seen.clock.advance(10.0)
        await seen.loaded()
        seen.servers[1].speak()
        await asyncio.sleep(0)
        seen.servers[1].versions = {"m": TWO}
        assert await seen.loaded() == NOTHING
        assert (await seen.group.loaded()).away == {}


async def test_a_replica_that_hangs_in_the_middle_of_a_load_holds_up_nobody_for_ever() -> None:
    async with world() as seen:
        stuck = seen.servers[0]
        stuck.stuck = {"m"}
        for server in seen.servers[1:]:
            server.versions = {"m": BOTH}

        async def hang() -> None:
            while not stuck.loads:  # noqa: ASYNC110 - the fake has no event
                await asyncio.sleep(0)
            stuck.silent = True
            while True:
                await asyncio.sleep(0.01)
                seen.clock.advance(1.0)

        hanging = asyncio.create_task(hang())
        try:
            with pytest.raises(Unavailable, match=r"^a: it stopped answering in the middle"):
                await seen.group.load("m", BOTH)
        finally:
            hanging.cancel()


async def test_a_load_that_takes_long_on_a_replica_that_answers_goes_on() -> None:
    async with world() as seen:
        seen.servers[0].stuck = {"m"}
        load = asyncio.create_task(seen.group.load("m", BOTH))
        for _ in range(4):
            await asyncio.sleep(0.06)
            seen.clock.advance(10.0)
        assert not load.done()
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        assert seen.loads == [[BOTH], [], []]


async def test_unloading_reaches_every_replica_that_answers() -> None:
    async with world() as seen:
        seen.servers[1].away = True
        await seen.group.unload("m")
        assert [server.versions for server in seen.servers] == [{}, {"m": ONE}, {}]


async def test_replicas_come_and_go() -> None:
    async with world(2) as seen:
        await seen.loaded()
        joined = FakeModelServer()
        seen.members.servers = {"b": seen.servers[1], "c": joined}
        assert await seen.loaded() == NOTHING
        await seen.group.load("m", ONE)
        assert (joined.loads, seen.loads) == ([("m", ONE)], [[], []])
        assert set((await seen.group.loaded()).servers) == {"b", "c"}


async def test_a_replica_that_leaves_while_it_hangs_is_forgotten() -> None:
    async with world() as seen:
        seen.servers[2].silent = True
        await seen.loaded()
        del seen.members.servers["c"]
        assert (await seen.group.loaded()).away == {}


class Failing(FakeModelServer):
    """Fails at every load in one way."""

    def __init__(self, error: PenstockError) -> None:
        super().__init__()
        self.versions = {"m": ONE}
        self.error = error

    async def load(self, model: str, versions: frozenset[int], tolerated: frozenset[int] = NOTHING) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((Unavailable("x"), DeadlineExceeded("y")), Unavailable),
        ((DeadlineExceeded("x"), DeadlineExceeded("y")), DeadlineExceeded),
        ((Unavailable("x"), NotFound("y")), NotFound),
        ((NotFound("x"), UpstreamFailure("y")), UpstreamFailure),
    ],
)
async def test_a_refusal_outweighs_what_may_pass(
    errors: tuple[PenstockError, ...], expected: type[PenstockError]
) -> None:
    has_it = FakeModelServer()
    has_it.versions = {"m": BOTH}
    members = FakeMembers([has_it, *map(Failing, errors)])
    group = ModelServerGroup(members)
    with pytest.raises(expected, match=r"^b: x; c: y$") as raised:
        await group.load("m", BOTH)
    assert type(raised.value) is expected
    await group.aclose()


async def test_a_mistake_of_ours_is_not_hidden() -> None:
    class Mistaken(FakeModelServer):
        async def loaded(self) -> Inventory:
            raise ZeroDivisionError

    group = ModelServerGroup(FakeMembers([FakeModelServer(), Mistaken()]))
    with pytest.raises(ZeroDivisionError):
        await group.loaded()
    await group.aclose()
