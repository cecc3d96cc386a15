"""Large inputs on their way to a Triton that really reads them from /dev/shm, and what becomes of the memory."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import orjson
import pytest

from services.core.errors import DeadlineExceeded, InvalidRequest, PenstockError, Unavailable, UpstreamFailure
from services.core.inference import InferRequest, InferResponse, RequestedOutput
from services.core.tensor import Tensor
from services.triton.faults import AllBusy, Broken, GivenUp, NotSent
from services.triton.http import HttpPool
from services.triton.merging.settings import MergeSettings
from services.triton.replicas.replica_set import ReplicaSet
from services.triton.replicas.settings import ReplicaSettings
from services.triton.shared_memory.arena import DIRECTORY, PREFIX
from services.triton.shared_memory.settings import SharedMemorySettings
from services.triton.shared_memory.shared_memory import SharedMemory
from services.triton.triton_upstream import TritonUpstream
from services.triton.wire import encode_request
from tests.fakes import aio, fake_triton
from tests.fakes.memory_triton import Inference, MemoryTriton, memory_triton
from tests.fakes.scripted_ask import ScriptedAsk

LEAST = 65_536
# Of two such inputs only one has room.
HALF = 700_000
SETTINGS = SharedMemorySettings(max_bytes=1 << 20, rest_s=3600.0, retry_s=0.001)
TIMEOUT_S = 60.0


def tensor(size: int, name: str = "X", fill: int = 7, datatype: str = "UINT8") -> Tensor:
    return Tensor(name, datatype, (1, size), bytes([fill]) * size)


def request_of(*inputs: Tensor) -> InferRequest:
    return InferRequest("m", inputs=list(inputs))


@asynccontextmanager
async def shared_memory(settings: SharedMemorySettings = SETTINGS) -> AsyncIterator[SharedMemory]:
    """Make memory of its own, whose file is gone at the end."""
    name = f"test-{uuid.uuid4().hex}"
    memory = SharedMemory(name, settings)
    try:
        yield memory
    finally:
        memory.close()
        assert not (DIRECTORY / f"{PREFIX}{name}").exists()


@dataclass
class Bench:
    """One upstream before one Triton."""

    triton: MemoryTriton
    memory: SharedMemory
    upstream: TritonUpstream
    pool: HttpPool

    async def ask(self, *inputs: Tensor, timeout_s: float = TIMEOUT_S, resend: bool = False) -> InferResponse:
        """Ask once, and check that the answer is what was sent."""
        request = request_of(*inputs)
        answer = await self.upstream.attempt(request, 1, timeout_s, timeout_s, resend=resend)
        assert [(o.name, o.datatype, o.shape, bytes(o.data)) for o in answer.outputs] == [
            (i.name, i.datatype, i.shape, bytes(i.data)) for i in inputs
        ]
        return answer

    async def register(self) -> None:
        """Go through the socket until memory is used."""
        await self.ask(tensor(LEAST))
        assert not self.used_memory(), "nobody waits for the registration"
        while not self.used_memory():
            await aio.turns(10)
            await self.ask(tensor(LEAST))

    @property
    def last(self) -> Inference:
        return self.triton.served[-1]

    def used_memory(self) -> bool:
        """Whether the last request went through memory."""
        return self.last.in_memory

    @property
    def is_free(self) -> bool:
        """Whether all of the memory can be used at once."""
        return self.memory._arena.is_quiet

    @property
    def rests(self) -> bool:
        """Whether nobody has any of it, and some of it cannot be used yet."""
        return not self.is_free and self.memory.held_bytes == 0


@asynccontextmanager
async def bench(settings: SharedMemorySettings = SETTINGS, max_connections: int = 8) -> AsyncIterator[Bench]:
    async with shared_memory(settings) as memory, memory_triton() as triton:
        pool = HttpPool("127.0.0.1", triton.port, max_connections)
        control = HttpPool("127.0.0.1", triton.port)

        async def ask(path: str, body: bytes | None = None) -> tuple[int, bytes]:
            parts = () if body is None else (body,)
            response = await control.request("GET" if body is None else "POST", f"/{path}", None, parts)
            return response.status, response.body

        region = memory.region("127.0.0.1", ask)
        assert region is not None
        try:
            yield Bench(triton, memory, TritonUpstream(pool, control, region=region), pool)
        finally:
            triton.pause = triton.stuck = False
            await region.aclose()
            await pool.aclose()
            await control.aclose()
            assert memory.held_bytes == 0
            assert triton.torn == []


def test_the_header_says_where_each_input_is_and_keeps_everything_else() -> None:
    async def scenario() -> None:
        async with shared_memory() as memory:
            region = memory.region("127.0.0.1", ScriptedAsk())
            assert region is not None
            request = InferRequest(
                "m",
                id="grüße",
                inputs=[tensor(4, "small"), tensor(LEAST + 1, "large"), tensor(2 * LEAST, "larger", datatype="BOOL")],
                outputs=[RequestedOutput("Y"), RequestedOutput("SCORES", 3)],
                parameters={"mood": "good", "count": 3, "flag": True},
            )
            assert region.place(request) is None
            await aio.turns(10)
            placed = region.place(request)
            assert placed is not None
            begins = placed.begins
            assert begins == [None, 0, 65_600]
            length, parts = encode_request(request, 5_000_000, placed)
            assert length == len(parts[0])
            assert parts[1:] == [request.inputs[0].data]
            where = {"shared_memory_region": placed.region}
            described = [
                {"name": "small", "shape": [1, 4], "datatype": "UINT8", "parameters": {"binary_data_size": 4}},
                {
                    "name": "large",
                    "shape": [1, LEAST + 1],
                    "datatype": "UINT8",
                    "parameters": {**where, "shared_memory_offset": 0, "shared_memory_byte_size": LEAST + 1},
                },
                {
                    "name": "larger",
                    "shape": [1, 2 * LEAST],
                    "datatype": "BOOL",
                    "parameters": {**where, "shared_memory_offset": 65_600, "shared_memory_byte_size": 2 * LEAST},
                },
            ]
            header = orjson.loads(parts[0])
            assert header.pop("inputs") == described
            through_socket = orjson.loads(encode_request(request, 5_000_000)[1][0])
            del through_socket["inputs"]
            assert header == through_socket, "everything else is as it would be without memory"
            assert header == {
                "id": "grüße",
                "parameters": {"mood": "good", "count": 3, "flag": True, "timeout": 5_000_000},
                "outputs": [
                    {"name": "Y", "parameters": {"binary_data": True}},
                    {"name": "SCORES", "parameters": {"binary_data": True, "classification": 3}},
                ],
            }
            placed.free()

            plain = request_of(tensor(LEAST))
            placed = region.place(plain)
            assert placed is not None
            length, parts = encode_request(plain, 7, placed)
            assert parts == [parts[0]], "no bytes follow the header"
            assert parts[0] == (
                b'{"inputs":[{"name":"X","shape":[1,65536],"datatype":"UINT8","parameters":{"shared_memory_region":"'
                + placed.region.encode()
                + b'","shared_memory_offset":0,"shared_memory_byte_size":65536}}],'
                + b'"parameters":{"binary_data_output":true,"timeout":7}}'
            )
            placed.free()

    aio.run_quietly(scenario())


def test_large_inputs_are_read_from_memory_and_the_answer_is_the_same() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            inputs = [tensor(LEAST, "A", 1), tensor(9, "B", 2), tensor(3 * LEAST + 7, "C", 3), tensor(0, "D")]
            await one.ask(*inputs)
            assert [read.offset is not None for read in one.last.inputs] == [True, False, True, False]
            assert one.is_free
            await one.ask(tensor(LEAST - 1))
            assert not one.used_memory()
            assert [text.split()[0] for text in one.triton.asked] == ["register", "status"]

    aio.run_quietly(scenario())


def test_trace_context_and_time_left_go_with_a_request_in_memory() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
            request = InferRequest("m", id="7", inputs=[tensor(LEAST)], traceparent=trace)
            answer = await one.upstream.attempt(request, 1, TIMEOUT_S, TIMEOUT_S)
            assert answer.id == "7"
            assert one.used_memory()
            assert f"\r\ntraceparent: {trace}\r\n".encode() in one.triton.heads[-1]
            assert one.last.header["parameters"]["timeout"] == TIMEOUT_S * 1_000_000

    aio.run_quietly(scenario())


def test_memory_is_free_again_when_triton_has_answered_or_failed() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            for _ in range(5):
                await one.ask(tensor(HALF))
                assert one.used_memory()
                assert one.is_free
            for _ in range(5):
                one.triton.fates.append("error")
                with pytest.raises(UpstreamFailure, match="the model failed"):
                    await one.ask(tensor(HALF))
                assert one.used_memory()
                assert one.is_free

    aio.run_quietly(scenario())


def test_an_answer_that_makes_no_sense_is_an_answer() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            one.triton.reply = (200, {"what": "nothing"})
            with pytest.raises(UpstreamFailure, match="makes no sense"):
                await one.ask(tensor(HALF))
            assert one.used_memory()
            assert one.is_free

    aio.run_quietly(scenario())


@pytest.mark.parametrize("how", ["timeout", "cancelled", "broken", "given up", "closed"])
def test_memory_that_triton_may_still_be_reading_rests(how: str) -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            served = len(one.triton.served)
            one.triton.fates.append("break" if how == "broken" else "silence")
            if how == "timeout":
                with pytest.raises(DeadlineExceeded):
                    await one.ask(tensor(HALF), timeout_s=0.2)
            elif how == "broken":
                with pytest.raises(Broken):
                    await one.ask(tensor(HALF))
            else:
                asking = asyncio.create_task(one.upstream.attempt(request_of(tensor(HALF)), 1, 60, 60, group=one))
                await aio.until(lambda: len(one.triton.served) > served)
                assert one.memory.held_bytes >= HALF
                if how == "cancelled":
                    asking.cancel()
                elif how == "given up":
                    one.pool.give_up(one, GivenUp("it hangs"))
                else:
                    await one.pool.aclose()
                (ended,) = await asyncio.gather(asking, return_exceptions=True)
                assert isinstance(ended, asyncio.CancelledError if how == "cancelled" else Unavailable)
            assert one.rests
            if how != "closed":
                await one.ask(tensor(HALF, fill=9))
                assert not one.used_memory(), "the rest is not enough"
                await one.ask(tensor(LEAST, fill=9))
                assert one.used_memory(), "the rest can be used"
            one.triton.speaks.set()
            await aio.turns(10)

    aio.run_quietly(scenario())


def test_memory_that_has_rested_is_used_again() -> None:
    async def scenario() -> None:
        async with bench(replace(SETTINGS, rest_s=0.1)) as one:
            await one.register()
            one.triton.fates.append("break")
            with pytest.raises(Broken):
                await one.ask(tensor(HALF))
            await aio.until(lambda: one.is_free)
            await one.ask(tensor(HALF))
            assert one.used_memory()

    aio.run_quietly(scenario())


def test_memory_of_a_request_that_was_never_sent_is_free_at_once() -> None:
    async def scenario() -> None:
        async with bench(max_connections=1) as one:
            await one.register()
            one.triton.stuck = True
            served = len(one.triton.served)
            first = asyncio.create_task(one.ask(tensor(LEAST)))
            await aio.until(lambda: len(one.triton.served) > served)
            held = one.memory.held_bytes
            with pytest.raises(AllBusy):
                await one.ask(tensor(LEAST))
            assert one.memory.held_bytes == held
            one.triton.stuck = False
            await first
            assert one.is_free

            await one.triton.kill()
            await aio.until(lambda: not one.pool._open)
            for _ in range(3):
                with pytest.raises(NotSent):
                    await one.ask(tensor(HALF))
                assert one.is_free

    aio.run_quietly(scenario())


def test_what_an_idle_connection_lost_is_sent_again_from_the_same_memory() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            one.triton.fates.append("break")
            served = len(one.triton.served)
            await one.ask(tensor(HALF), resend=True)
            first, second = one.triton.served[served:]
            assert first.inputs == second.inputs
            assert second.in_memory
            assert one.is_free

    aio.run_quietly(scenario())


def test_a_triton_that_began_anew_gets_the_same_request_through_the_socket_and_then_the_memory() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            sent = len(one.triton.inferences)
            await one.triton.kill()
            await one.triton.start()
            await aio.until(lambda: not one.pool._open)
            await one.ask(tensor(LEAST, fill=8))
            assert one.triton.unknown == 1
            assert len(one.triton.inferences) == sent + 2, "once in vain, once through the socket"
            assert not one.used_memory()
            assert one.is_free
            while not one.used_memory():
                await aio.turns(10)
                await one.ask(tensor(LEAST, fill=9))
            assert one.triton.unknown == 1
            assert len(one.triton.regions) == 1

    aio.run_quietly(scenario())


def test_requests_that_were_under_way_when_triton_lost_the_memory_are_all_answered() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            one.triton.regions.clear()
            await asyncio.gather(*[one.ask(tensor(LEAST, fill=number)) for number in range(8)])
            assert 1 <= one.triton.unknown <= 8
            while not one.used_memory():
                await aio.turns(10)
                await one.ask(tensor(LEAST))
            assert one.is_free

    aio.run_quietly(scenario())


def test_a_triton_that_never_keeps_the_memory_answers_all_the_same() -> None:
    async def scenario() -> None:
        async with bench() as one:
            one.triton.forgets = True
            for number in range(20):
                sent = len(one.triton.inferences)
                await one.ask(tensor(LEAST, fill=number))
                assert len(one.triton.inferences) <= sent + 2
                assert not one.used_memory()
                await aio.turns(20)
            assert one.is_free

    aio.run_quietly(scenario())


def test_the_second_sending_of_what_was_lost_has_only_the_time_that_is_left() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            one.triton.regions.clear()
            one.triton.fates.append("silence")
            with pytest.raises(DeadlineExceeded):
                await one.ask(tensor(LEAST), timeout_s=1.0)
            timeouts = [header["parameters"]["timeout"] for header in one.triton.headers[-2:]]
            assert 1_000_000 == timeouts[0] > timeouts[1] > 0
            assert one.is_free

    aio.run_quietly(scenario())


def test_a_triton_that_cannot_open_the_memory_is_served_through_the_socket() -> None:
    async def scenario() -> None:
        async with bench(replace(SETTINGS, retry_s=3600.0)) as one:
            one.triton.refuses = True
            for _ in range(10):
                await one.ask(tensor(LEAST))
                assert not one.used_memory()
                await aio.turns(20)
            assert [text.split()[0] for text in one.triton.asked] == ["register"]
            assert one.memory.held_bytes == 0

    aio.run_quietly(scenario())


def test_a_request_that_has_no_form_takes_no_memory_with_it() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            request = request_of(tensor(HALF))
            request.parameters["huge"] = 1 << 70
            with pytest.raises(InvalidRequest):
                await one.upstream.attempt(request, 1, TIMEOUT_S, TIMEOUT_S)
            assert one.memory.held_bytes == 0

    aio.run_quietly(scenario())


def test_requests_at_one_time_each_get_their_own_answer_and_some_go_through_the_socket() -> None:
    async def scenario() -> None:
        async with bench(max_connections=64) as one:
            await one.register()
            one.triton.delay_s = 0.01
            served = len(one.triton.served)
            await asyncio.gather(*[one.ask(tensor(LEAST + number, fill=number)) for number in range(40)])
            kinds = [inference.in_memory for inference in one.triton.served[served:]]
            assert True in kinds
            assert False in kinds, "there is no room for 40"
            assert one.is_free

    aio.run_quietly(scenario())


@dataclass
class Fleet:
    """A set of replicas that share memory with their worker."""

    memory: SharedMemory
    tritons: list[MemoryTriton]
    replicas: ReplicaSet

    async def ask(self, size: int, fill: int) -> InferResponse | PenstockError:
        given = tensor(size, fill=fill)
        try:
            answer = await self.replicas.infer(request_of(given), 1, TIMEOUT_S)
        except PenstockError as error:
            return error
        assert [(o.shape, bytes(o.data)) for o in answer.outputs] == [(given.shape, given.data)]
        return answer

    async def register(self) -> None:
        """Ask until both use memory."""
        while not all(self.in_memory()):
            answers = await asyncio.gather(*[self.ask(LEAST, number) for number in range(8)])
            assert all(isinstance(answer, InferResponse) for answer in answers)

    def in_memory(self) -> list[int]:
        return [sum(inference.in_memory for inference in triton.served) for triton in self.tritons]


@asynccontextmanager
async def fleet(
    settings: SharedMemorySettings = SETTINGS, merging: MergeSettings | None = None, *, watched: bool = False
) -> AsyncIterator[Fleet]:
    """Run a set over two Tritons."""
    async with AsyncExitStack() as stack:
        memory = await stack.enter_async_context(shared_memory(settings))
        tritons = [await stack.enter_async_context(memory_triton()) for _ in range(2)]
        for triton in tritons:
            triton.config = dict(fake_triton.MERGING)
        quick = ReplicaSettings(
            ready_interval_s=0.1,
            ejection_s=0.05,
            slow_start_s=0.0,
            probe_interval_s=60.0,
            retry_share=1.0,
            retries_per_s=1000.0,
            poison_memory_s=0.0,
        )
        merging = merging or MergeSettings(enabled=False)
        replicas = ReplicaSet([triton.address for triton in tritons], quick, merging, memory=memory)
        await replicas.schema("m", 1)
        watch = asyncio.create_task(replicas.run()) if watched else None
        try:
            yield Fleet(memory, tritons, replicas)
        finally:
            for triton in tritons:
                triton.stuck = triton.pause = False
                triton.speaks.set()
            if watch is not None:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
            await replicas.aclose()
            assert memory.held_bytes == 0
            assert [triton.torn for triton in tritons] == [[], []]


def test_two_tritons_share_one_memory_and_both_forget_it_at_the_end() -> None:
    async def scenario() -> None:
        async with fleet() as set_:
            await set_.register()
            names = {name for triton in set_.tritons for name in triton.regions}
            assert len(names) == 1
            assert [len(triton.regions) for triton in set_.tritons] == [1, 1]
            await set_.replicas.aclose()
            assert [triton.regions for triton in set_.tritons] == [{}, {}]

    aio.run_quietly(scenario())


def test_merged_requests_go_through_memory_and_each_gets_its_rows() -> None:
    async def scenario() -> None:
        async with fleet(merging=MergeSettings()) as set_:
            rode = 0
            while not (rode and all(set_.in_memory())):
                answers = await asyncio.gather(*[set_.ask(2048, number) for number in range(120)])
                assert all(isinstance(answer, InferResponse) for answer in answers)
                rode += sum(answer.rode_along for answer in answers if isinstance(answer, InferResponse))

    aio.run_quietly(scenario())


def test_a_replica_that_breaks_is_left_for_another_without_a_lost_request() -> None:
    async def scenario() -> None:
        async with fleet() as set_:
            await set_.register()
            for number in range(20):
                for triton in set_.tritons:
                    triton.fates.clear()
                set_.tritons[number % 2].fates.extend(["break"] * 2)
                assert isinstance(await set_.ask(LEAST + number, number), InferResponse)

    aio.run_quietly(scenario())


@pytest.mark.parametrize("seed", range(4))
def test_after_any_mix_of_outcomes_nobody_has_memory_and_nobody_got_what_is_anothers(seed: int) -> None:
    async def scenario() -> None:
        chance = random.Random(seed)
        settings = replace(SETTINGS, max_bytes=16 << 20)
        async with fleet(settings, watched=True) as set_:
            answered = failed = cancelled = 0
            for _ in range(25):
                for triton in set_.tritons:
                    fates = chance.choices(["answer", "error", "break", "silence"], [12, 2, 1, 0.5], k=20)
                    triton.fates.extend(fates)
                    triton.delay_s = chance.choice([0, 0, 0.005])
                sizes = chance.choices([10, LEAST - 1, LEAST, 3 * LEAST], k=20)
                asking = [asyncio.create_task(set_.ask(size, chance.randrange(256))) for size in sizes]
                await aio.turns(chance.randrange(30))
                for task in asking:
                    if chance.random() < 0.2:
                        task.cancel()
                if chance.random() < 0.3:
                    unlucky = chance.choice(set_.tritons)
                    await unlucky.kill()
                    await unlucky.start()
                if chance.random() < 0.2:
                    chance.choice(set_.tritons).regions.clear()
                await aio.turns(chance.randrange(30))
                for triton in set_.tritons:
                    triton.fates.clear()
                    triton.speaks.set()
                for ended in await asyncio.gather(*asking, return_exceptions=True):
                    answered += isinstance(ended, InferResponse)
                    failed += isinstance(ended, PenstockError)
                    cancelled += isinstance(ended, asyncio.CancelledError)
                    assert isinstance(ended, InferResponse | PenstockError | asyncio.CancelledError), ended
                assert set_.memory.held_bytes == 0
                for triton in set_.tritons:
                    triton.speaks.clear()
            assert min(answered, failed, cancelled) > 0
            assert all(set_.in_memory())

    aio.run(scenario(), timeout_s=60.0)


def test_a_model_that_says_such_words_is_asked_once() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            before = len(one.triton.served)
            one.triton.reply = (500, {"error": "model: Unable to find shared memory region 'mine'"})
            with pytest.raises(UpstreamFailure):
                await one.ask(tensor(LEAST))
            assert len(one.triton.served) == before + 1

    aio.run_quietly(scenario())


def test_a_request_without_a_form_gives_its_memory_back_at_once() -> None:
    async def scenario() -> None:
        async with bench() as one:
            await one.register()
            request = request_of(tensor(HALF))
            request.parameters["huge"] = 1 << 70
            with pytest.raises(InvalidRequest):
                await one.upstream.attempt(request, 1, 60, 60)
            assert one.is_free

    aio.run_quietly(scenario())


@pytest.mark.parametrize("cached", [False, True])
def test_where_triton_caches_answers_by_their_inputs_nothing_goes_through_memory(cached: bool) -> None:
    async def scenario() -> None:
        async with fleet() as set_:
            for triton in set_.tritons:
                triton.config = {**triton.config, "response_cache": {"enable": cached}}
            await set_.replicas.schema("m", 1)
            version = set_.replicas._roster.version(("m", 1))
            assert version.by_memory is not cached

    aio.run_quietly(scenario())


def test_copies_leave_the_memory_to_clients() -> None:
    async def scenario() -> None:
        async with fleet() as set_:
            await set_.register()
            before = set_.in_memory()
            copy = InferRequest("m", inputs=[tensor(LEAST)], is_copy=True)
            for _ in range(4):
                answer = await set_.replicas.infer(copy, 1, TIMEOUT_S)
                assert bytes(answer.outputs[0].data) == bytes(copy.inputs[0].data)
            assert set_.in_memory() == before

    aio.run_quietly(scenario())
