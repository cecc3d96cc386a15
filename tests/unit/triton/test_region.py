"""A region: when an arena is registered at a Triton, and which inputs of a request are in it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.core.errors import Unavailable
from services.core.inference import InferRequest
from services.core.tensor import Tensor
from services.triton.shared_memory.arena import DIRECTORY, PREFIX, Arena
from services.triton.shared_memory.region import InMemory, Region
from services.triton.shared_memory.settings import SharedMemorySettings
from services.triton.shared_memory.shared_memory import SharedMemory, is_local
from tests.fakes import aio
from tests.fakes.scripted_ask import REGISTER, STATUS, UNREGISTER, ScriptedAsk
from tests.fakes.skipping_loop import SkippingLoop, skip

LEAST = 1000
SIZE = 1 << 20
SETTINGS = SharedMemorySettings(max_bytes=SIZE, min_input_bytes=LEAST, rest_s=100.0, retry_s=500.0)
REFUSED = (400, b'{"error":"Unable to open shared memory region: \'/x\'"}')


def lost(name: str) -> bytes:
    return b'{"error":"Unable to find shared memory region: \'%s\'"}' % name.encode()


def in_time(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run with a clock that can be put forward; no task may be left."""
    aio.run_quietly(scenario(), timeout_s=1e6, loop=SkippingLoop)


def tensor(size: int, name: str = "X", datatype: str = "UINT8", fill: int = 7) -> Tensor:
    return Tensor(name, datatype, (size,), bytes([fill]) * size)


def request_of(*inputs: Tensor, sequence: str | None = None) -> InferRequest:
    return InferRequest("m", inputs=list(inputs), sequence=sequence)


LARGE = request_of(tensor(LEAST))


@dataclass
class Bench:
    """A region under test."""

    arena: Arena
    ask: ScriptedAsk
    region: Region
    path: Path

    async def settle(self) -> None:
        """Let what was started in the background go as far as it can."""
        await aio.turns(20)

    def uses_memory(self) -> bool:
        """Whether a large request goes through memory now."""
        memory = self.region.place(LARGE)
        if memory is not None:
            memory.free()
        return memory is not None

    async def register(self) -> None:
        """Get it registered."""
        assert not self.uses_memory()
        await self.settle()
        assert self.uses_memory()

    def contents(self, memory: InMemory, request: InferRequest) -> list[bytes | None]:
        """Return what Triton would read for each input."""
        whole = self.path.read_bytes()
        return [
            None if begin is None else whole[begin : begin + len(given.data)]
            for begin, given in zip(memory.begins, request.inputs, strict=True)
        ]


@asynccontextmanager
async def bench(settings: SharedMemorySettings = SETTINGS) -> AsyncIterator[Bench]:
    """Make a region of an arena of its own in /dev/shm; both are closed at the end."""
    name = f"test-{uuid.uuid4().hex}"
    ask = ScriptedAsk()
    arena = Arena(name, settings.max_bytes, settings.rest_s, asyncio.get_running_loop().time)
    region = Region(arena, ask, settings)
    try:
        yield Bench(arena, ask, region, DIRECTORY / f"{PREFIX}{name}")
    finally:
        ask.open.set()
        await region.aclose()
        arena.close()
        assert not (DIRECTORY / f"{PREFIX}{name}").exists()


def test_nothing_is_made_or_asked_before_a_large_input_comes() -> None:
    async def scenario() -> None:
        async with bench() as one:
            small = request_of(tensor(LEAST - 1), tensor(LEAST - 1, "Z"))
            assert one.region.place(small) is None
            await one.settle()
            assert not one.path.exists()
            assert one.ask.asked == []

    in_time(scenario)


def test_memory_is_registered_once_and_in_the_background() -> None:
    async def scenario() -> None:
        async with bench() as one:
            one.ask.open.clear()
            for _ in range(5):
                assert one.region.place(LARGE) is None, "nobody waits for it"
            await one.settle()
            assert one.region.place(LARGE) is None
            assert one.ask.asked == [f"register {one.path.name}"]
            (body,) = one.ask.bodies
            assert body is not None
            assert orjson.loads(body) == {"key": one.arena.key, "offset": 0, "byte_size": SIZE}
            assert one.path.stat().st_size == SIZE, "it is there before Triton is told of it"
            one.ask.open.set()
            await one.settle()
            assert one.uses_memory()
            await one.settle()
            assert one.ask.count(REGISTER) == 1

    in_time(scenario)


@pytest.mark.parametrize("refusal", [REFUSED, (500, b""), (404, b"<html>"), Unavailable("nobody listens")])
def test_a_triton_that_refuses_is_asked_again_only_after_its_time(
    refusal: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with bench() as one:
            one.ask.replies[REGISTER] = [refusal, refusal]
            for round_ in (1, 2):
                for _ in range(3):
                    assert not one.uses_memory()
                    await one.settle()
                    assert one.ask.count(REGISTER) == round_
                skip(SETTINGS.retry_s - 1)
                assert not one.uses_memory()
                await one.settle()
                assert one.ask.count(REGISTER) == round_
                skip(1.001)
            await one.register()
            assert one.ask.count(REGISTER) == 3

    with caplog.at_level(logging.WARNING):
        in_time(scenario)
    assert ["go through the socket" in record.getMessage() for record in caplog.records] == [True, True]


def test_memory_that_triton_already_has_counts_as_registered() -> None:
    async def scenario() -> None:
        async with bench() as one:
            one.ask.replies[REGISTER] = [(400, b'{"error":"shared memory region \'x\' already in manager"}')]
            await one.register()

    in_time(scenario)


def test_memory_that_triton_lost_is_registered_again_at_once() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            assert one.region.lost(400, lost(one.path.name))
            assert not one.uses_memory()
            await one.settle()
            assert one.uses_memory()
            assert one.ask.count(REGISTER) == 2

    in_time(scenario)


def test_only_an_error_that_says_so_means_that_memory_is_lost() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            assert not one.region.lost(200, lost(one.path.name))
            assert not one.region.lost(400, b'{"error":"unexpected shape"}')
            assert not one.region.lost(500, b"")
            assert one.uses_memory()

    in_time(scenario)


def test_memory_that_cannot_be_had_is_never_offered_to_triton() -> None:
    async def scenario() -> None:
        async with bench() as one:
            one.path.write_bytes(b"in the way")
            for _ in range(3):
                assert not one.uses_memory()
                await one.settle()
            assert one.ask.asked == []
            one.path.unlink()

    in_time(scenario)


def test_what_dead_workers_left_is_unregistered_only_after_a_rest_and_only_if_nobody_has_the_file() -> None:
    async def scenario() -> None:
        async with bench() as one:
            living = f"{PREFIX}test-living-{uuid.uuid4().hex}"
            (DIRECTORY / living).touch()
            try:
                dead = f"{PREFIX}test-dead-1"
                one.ask.regions = {living, dead, "somebody-elses"}
                await one.register()
                assert one.ask.count(STATUS) == 1
                skip(SETTINGS.rest_s - 1)
                await one.settle()
                assert one.ask.count(UNREGISTER) == 0, "what they sent may still be read"
                assert one.uses_memory(), "nobody waits for that"
                one.ask.regions.add(f"{PREFIX}test-dead-2")  # too young
                skip(1.001)
                await one.settle()
                assert [text for text in one.ask.asked if text.startswith(UNREGISTER)] == [f"unregister {dead}"]
                assert one.path.name in one.ask.regions
                assert one.ask.count(REGISTER) == 1
            finally:
                (DIRECTORY / living).unlink()

    in_time(scenario)


def test_what_came_back_during_the_rest_is_not_unregistered() -> None:
    async def scenario() -> None:
        async with bench() as one:
            name = f"{PREFIX}test-back-{uuid.uuid4().hex}"
            one.ask.regions = {name}
            await one.register()
            (DIRECTORY / name).touch()
            try:
                skip(SETTINGS.rest_s + 0.001)
                await one.settle()
                assert one.ask.count(STATUS) == 2
                assert one.ask.count(UNREGISTER) == 0
            finally:
                (DIRECTORY / name).unlink()

    in_time(scenario)


@pytest.mark.parametrize("status", [(500, b"no"), Unavailable("broken"), (200, b"<html>"), (200, b"[{}]")])
def test_a_triton_that_does_not_say_what_is_registered_can_still_be_used(status: Any) -> None:
    async def scenario() -> None:
        async with bench() as one:
            one.ask.replies[STATUS] = [status]
            await one.register()
            assert one.ask.count(REGISTER) == 1

    in_time(scenario)


def test_closing_unregisters_what_nobody_reads() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            await one.region.aclose()
            assert one.ask.asked[-1] == f"unregister {one.path.name}"
            await one.region.aclose()
            assert one.ask.count(UNREGISTER) == 1

    in_time(scenario)


@pytest.mark.parametrize("end", ["held", "resting"])
def test_closing_leaves_registered_what_somebody_may_still_read(end: str) -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            memory = one.region.place(LARGE)
            assert memory is not None
            if end == "resting":
                memory.rest()
            await one.region.aclose()
            assert one.ask.count(UNREGISTER) == 0
            if end == "held":
                memory.free()
            skip(SETTINGS.rest_s + 0.001)
            await one.region.aclose()
            assert one.ask.count(UNREGISTER) == 1, "now nobody does"

    in_time(scenario)


def test_closing_ends_a_registration_that_is_under_way() -> None:
    async def scenario() -> None:
        async with bench() as one:
            one.ask.open.clear()
            assert not one.uses_memory()
            await one.settle()
            assert one.ask.waiting == 1
            await one.region.aclose()
            assert one.ask.waiting == 0
            assert one.ask.count(UNREGISTER) == 1, "Triton may have heard of it"

    in_time(scenario)


def test_closing_ends_the_wait_before_tidying_up() -> None:
    async def scenario() -> None:
        async with bench() as one:
            one.ask.regions = {f"{PREFIX}test-dead"}
            await one.register()
            await one.region.aclose()
            assert one.ask.asked[-1] == f"unregister {one.path.name}"
            skip(SETTINGS.rest_s + 0.001)
            await one.settle()
            assert one.ask.regions == {f"{PREFIX}test-dead"}

    in_time(scenario)


def test_a_triton_that_is_gone_does_not_keep_anybody_from_closing() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            one.ask.replies[UNREGISTER] = [Unavailable("nobody listens")]
            await one.region.aclose()

    in_time(scenario)


@pytest.mark.parametrize(
    "request_",
    [
        request_of(),
        request_of(tensor(0)),
        request_of(tensor(LEAST - 1)),
        request_of(tensor(LEAST, datatype="BYTES")),
        request_of(tensor(LEAST), sequence="7"),
        request_of(tensor(2 * SIZE)),
    ],
    ids=["no-input", "empty", "small", "bytes", "sequence", "too-large"],
)
def test_what_does_not_belong_in_memory_goes_through_the_socket(request_: InferRequest) -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            assert one.region.place(request_) is None
            assert one.arena.is_quiet

    in_time(scenario)


def test_of_mixed_inputs_only_the_large_ones_are_in_memory_aligned_and_right() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            whole = memoryview(bytes(range(256)) * 10)
            request = request_of(
                tensor(10, "small"),
                tensor(LEAST, "first", fill=1),
                tensor(5000, "text", "BYTES"),
                Tensor("view", "FP32", (1001,), memoryview(bytearray(b"\x02" * 4004))),
                tensor(0, "empty"),
                Tensor("slice", "INT8", (2001,), whole[3:2004]),
                tensor(LEAST - 1, "almost"),
                tensor(LEAST, "first", fill=1),  # the same again is another input
            )
            memory = one.region.place(request)
            assert memory is not None
            assert memory.region == one.path.name
            assert [begin is not None for begin in memory.begins] == [False, True] * 4
            begins = [begin for begin in memory.begins if begin is not None]
            assert all(begin % 64 == 0 for begin in begins)
            read = one.contents(memory, request)
            for given, found in zip(request.inputs, read, strict=True):
                assert found is None or found == bytes(given.data)
            assert one.arena.held_bytes > 0
            memory.free()
            assert one.arena.is_quiet

    in_time(scenario)


def test_the_same_tensor_given_twice_is_there_twice() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            given = tensor(LEAST)
            request = request_of(given, given)
            memory = one.region.place(request)
            assert memory is not None
            assert one.contents(memory, request) == [given.data, given.data]
            memory.free()

    in_time(scenario)


def test_requests_at_one_time_have_memory_of_their_own_until_it_is_full() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            requests = [request_of(tensor(100_000, fill=number)) for number in range(12)]
            placed = [one.region.place(request) for request in requests]
            # A hundred thousand bytes take 25 pages, and there are 256 of them.
            assert [memory is not None for memory in placed] == [True] * 10 + [False] * 2
            for request, memory in zip(requests, placed, strict=True):
                if memory is not None:
                    assert one.contents(memory, request) == [request.inputs[0].data]
            first, second, *others = [memory for memory in placed if memory is not None]
            first.free()
            assert one.region.place(requests[10]) is not None
            second.rest()
            assert one.region.place(requests[11]) is None
            skip(SETTINGS.rest_s + 0.001)
            last = one.region.place(requests[11])
            assert last is not None
            for request, memory in zip(requests[2:10], others, strict=True):
                assert one.contents(memory, request) == [request.inputs[0].data], "nobody wrote over it"

    in_time(scenario)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("fe80::1", False),
        ("triton", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("", False),
    ],
)
def test_only_a_loopback_address_is_this_machine(host: str, local: bool) -> None:
    assert is_local(host) is local
    memory = SharedMemory(f"test-{uuid.uuid4().hex}", SETTINGS)

    async def ask(path: str, body: bytes | None = None) -> tuple[int, bytes]:
        raise AssertionError("nothing is asked")

    assert (memory.region(host, ask) is not None) is local
    memory.close()


def test_switched_off_there_is_no_memory_for_anybody() -> None:
    async def ask(path: str, body: bytes | None = None) -> tuple[int, bytes]:
        raise AssertionError("nothing is asked")

    memory = SharedMemory("test-off", SharedMemorySettings(enabled=False))
    assert memory.region("127.0.0.1", ask) is None
    assert memory.held_bytes == 0
    memory.close()


def test_memory_that_is_lost_while_others_are_tidied_away_is_registered_again_at_once() -> None:
    async def scenario() -> None:
        async with bench() as one:
            one.ask.regions = {f"{PREFIX}test-dead"}
            await one.register()
            assert one.region.lost(400, lost(one.path.name))
            assert not one.uses_memory()
            await one.settle()
            assert one.uses_memory()

    in_time(scenario)


def test_memory_that_is_lost_again_and_again_is_given_a_rest() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            assert one.region.lost(400, lost(one.path.name))
            assert not one.uses_memory()
            await one.settle()
            assert one.uses_memory()
            assert one.region.lost(400, lost(one.path.name))
            assert not one.uses_memory()
            await one.settle()
            assert not one.uses_memory(), "not again so soon"
            skip(SETTINGS.retry_s + 0.001)
            assert not one.uses_memory()
            await one.settle()
            assert one.uses_memory()

    in_time(scenario)


def test_what_another_memory_lost_says_nothing_of_this_one() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            assert not one.region.lost(500, lost("mine"))
            assert one.uses_memory()

    in_time(scenario)


def test_nothing_is_registered_by_a_request_after_the_end() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            skip(SETTINGS.retry_s + 1)
            await one.region.aclose()
            assert not one.uses_memory()
            await one.settle()
            assert one.ask.regions == set()

    in_time(scenario)
