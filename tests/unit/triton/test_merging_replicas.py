"""Merged requests before replicas that break, freeze, refuse and die of what they are sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from services.core.errors import InvalidRequest, PenstockError, Unavailable, UpstreamFailure
from services.core.inference import InferRequest, InferResponse
from services.core.tensor import Tensor
from services.triton.faults import Broken
from services.triton.merging.settings import MergeSettings
from services.triton.replicas.replica_set import ReplicaSet
from services.triton.replicas.settings import ReplicaSettings
from tests.fakes import aio, fake_triton
from tests.fakes.fake_triton import FakeTriton, fake_tritons
from tests.fakes.replica_events import RecordedEvents

QUICK = ReplicaSettings(
    ready_interval_s=0.2,
    ejection_s=0.2,
    slow_start_s=0.0,
    probe_interval_s=60.0,
    retry_share=1.0,
    retries_per_s=1000.0,
)
Answers = list[InferResponse | PenstockError]


def row_of(number: int) -> bytes:
    """A row that no other request has."""
    return number.to_bytes(4, "little")


@dataclass
class Serving:
    """A set under test, whose model takes merged requests."""

    replicas: ReplicaSet
    tritons: list[FakeTriton]
    events: RecordedEvents
    asked: int = 0

    async def ask(self, row: bytes, timeout_s: float = 60.0) -> InferResponse:
        request = InferRequest("m", id=row.hex(), inputs=[Tensor("X", "INT8", (1, 4), row)])
        return await self.replicas.infer(request, 1, timeout_s)

    async def burst(self, count: int) -> dict[bytes, InferResponse | PenstockError]:
        """Ask different things, all at once; whoever is answered has their own row."""
        rows = [row_of(self.asked + number) for number in range(count)]
        self.asked += count
        return dict(zip(rows, await self.all_of(rows), strict=True))

    async def all_of(self, rows: list[bytes]) -> Answers:
        """Ask all of these at once."""
        answers = await asyncio.gather(*[self._either(row) for row in rows])
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, InferResponse):
                assert [(bytes(o.data), o.shape) for o in answer.outputs] == [(row, (1, 4))]
        assert all(state.in_flight == 0 for state in self.replicas.states())
        return list(answers)

    async def _either(self, row: bytes) -> InferResponse | PenstockError:
        try:
            return await self.ask(row)
        except PenstockError as error:
            return error


@asynccontextmanager
async def serving(
    count: int,
    settings: ReplicaSettings = QUICK,
    merging: MergeSettings | None = None,
    *,
    watched: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> AsyncIterator[Serving]:
    """Run a set over ``count`` replicas that answer with the rows that they are sent."""
    events = RecordedEvents()
    async with fake_tritons(count) as tritons:
        for triton in tritons:
            triton.config = dict(fake_triton.MERGING)
            triton.echoes = True
        replicas = ReplicaSet(
            [triton.address for triton in tritons], settings, merging or MergeSettings(), events=events, clock=clock
        )
        await replicas.schema("m", 1)
        watch = asyncio.create_task(replicas.run()) if watched else None
        try:
            yield Serving(replicas, tritons, events)
        finally:
            if watch is not None:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
            await replicas.aclose()
            assert all(state.in_flight == 0 for state in replicas.states())


def breaks_of(triton: FakeTriton, deadly: Callable[[list[bytes]], bool]) -> list[list[bytes]]:
    """Let a replica break what is deadly, and return the list of that."""
    broken: list[list[bytes]] = []

    def look(_: bytes) -> None:
        rows = triton.rows[-1]
        triton.breaks = deadly(rows)
        if triton.breaks:
            broken.append(rows)

    triton.on_inference = look
    return broken


def merged(rows: list[bytes]) -> bool:
    return len(rows) > 1


def failures(answers: dict[bytes, InferResponse | PenstockError]) -> list[PenstockError]:
    return [answer for answer in answers.values() if isinstance(answer, PenstockError)]


def test_requests_of_one_moment_are_one_request_to_each_replica() -> None:
    async def scenario() -> None:
        async with serving(2) as set_:
            answers = await set_.burst(60)
            assert not failures(answers)
            sent = [rows for triton in set_.tritons for rows in triton.rows]
            assert sorted(row for rows in sent for row in rows) == sorted(answers), "nothing is sent twice"
            assert len(sent) < 10
            rode = sum(answer.rode_along for answer in answers.values() if isinstance(answer, InferResponse))
            assert len(sent) == 60 - rode

    aio.run_quietly(scenario())


def test_nothing_is_merged_before_the_model_has_said_that_it_may_be() -> None:
    async def scenario() -> None:
        async with fake_tritons(1) as tritons:
            tritons[0].echoes = True
            replicas = ReplicaSet([tritons[0].address], QUICK)
            set_ = Serving(replicas, tritons, RecordedEvents())
            assert not failures(await set_.burst(20))
            await replicas.schema("m", 1)
            assert not failures(await set_.burst(20)), "its configuration has no dynamic batching"
            assert [len(rows) for rows in tritons[0].rows] == [1] * 40
            await replicas.aclose()

    aio.run_quietly(scenario())


def test_nothing_is_merged_where_the_settings_say_so() -> None:
    async def scenario() -> None:
        async with serving(1, merging=MergeSettings(enabled=False)) as set_:
            assert not failures(await set_.burst(20))
            assert [len(rows) for rows in set_.tritons[0].rows] == [1] * 20

    aio.run_quietly(scenario())


def test_members_of_a_broken_exchange_are_answered_elsewhere_each_by_itself() -> None:
    async def scenario() -> None:
        async with serving(2) as set_:
            bad, good = set_.tritons
            broken = breaks_of(bad, merged)
            while not broken:
                answers = await set_.burst(40)
                assert not failures(answers)
            for row in (row for rows in broken for row in rows):
                assert [row] in good.rows
                answer = answers[row]
                assert isinstance(answer, InferResponse)
                assert (answer.attempts, answer.replica, answer.rode_along) == (2, good.name, False)
            again = sum(map(len, broken))
            assert set_.events.second == {"retry": again}
            assert set_.events.attempts[bad.name, "broken"] == again

    aio.run_quietly(scenario())


def test_one_broken_exchange_is_one_failure_however_many_were_in_it() -> None:
    async def scenario() -> None:
        async with serving(1) as set_:
            (triton,) = set_.tritons
            triton.breaks = True
            assert len(failures(await set_.burst(30))) == 30
            assert [len(rows) for rows in triton.rows] == [1, 29]
            assert not set_.events.ejections, "two failures, and three eject"
            assert len(failures(await set_.burst(1))) == 1
            assert set_.events.ejections == [(triton.name, None, None, "broken")]

    aio.run_quietly(scenario())


def test_a_request_that_breaks_replicas_is_found_and_those_beside_it_are_not_blamed() -> None:
    poison: set[bytes] = set()

    async def scenario() -> None:
        async with serving(3, replace(QUICK, eject_after_failures=1000)) as set_:
            broken = [breaks_of(triton, lambda rows: bool(poison & set(rows))) for triton in set_.tritons]
            assert not failures(await set_.burst(60))
            shared: list[bytes] = []
            while not shared:
                set_.asked += 1
                deadly = row_of(set_.asked | 0xFF000000)
                poison.add(deadly)
                innocents = [row_of(set_.asked + number) for number in range(1, 40)]
                set_.asked += 40
                answers = await set_.all_of([*innocents[:20], deadly, *innocents[20:]])
                refused = answers.pop(20)
                assert isinstance(refused, Unavailable)
                assert all(isinstance(answer, InferResponse) for answer in answers)
                hit = [rows for of_one in broken for rows in of_one if deadly in rows]
                assert [any(deadly in rows for rows in of_one) for of_one in broken].count(True) == 2, "on two replicas"
                assert hit.count([deadly]) >= 1, "on one of them by itself"
                assert len(hit) <= 3, "a connection that was idle before is given a second chance"
                shared = [row for rows in hit for row in rows if row != deadly]
            with pytest.raises(UpstreamFailure, match="ended the connections of two replicas"):
                await set_.ask(deadly)
            assert all(isinstance(answer, InferResponse) for answer in await set_.all_of(shared))
            for row in shared:
                assert (await set_.ask(row)).outputs, "nor are they when they come alone"

    aio.run_quietly(scenario())


def test_members_of_an_exchange_with_a_frozen_replica_are_answered_elsewhere() -> None:
    async def scenario() -> None:
        # Neither a deadline nor the bound of an attempt ends it, and the test's own bound is shorter than both.
        settings = replace(QUICK, hang_after_s=0.3, attempt_timeout_s=60.0)
        async with serving(2, settings, watched=True) as set_:
            frozen, well = set_.tritons
            assert not failures(await set_.burst(40))
            held: list[bytes] = []

            def freeze(_: bytes) -> None:
                frozen.frozen = frozen.frozen or merged(frozen.rows[-1])
                if frozen.frozen:
                    held.extend(frozen.rows[-1])

            frozen.on_inference = freeze
            while not held:
                answers = await set_.burst(40)
                assert not failures(answers)
            # A probe that is no client's may have been held as well.
            for row in set(held) & set(answers):
                answer = answers[row]
                assert isinstance(answer, InferResponse)
                assert (answer.attempts, answer.replica) == (2, well.name)
            assert "hang" in set_.events.reasons(frozen.name)
            frozen.frozen = False

    aio.run_quietly(scenario())


def test_every_member_pays_for_its_own_second_attempt() -> None:
    async def scenario() -> None:
        settings = replace(QUICK, retry_share=0.0, retries_per_s=3.0)
        async with serving(2, settings, clock=lambda: 1000.0) as set_:
            broken = breaks_of(set_.tritons[0], merged)
            failed: list[PenstockError] = []
            while sum(map(len, broken)) <= 3:
                failed += failures(await set_.burst(40))
            assert set_.events.second["retry"] == 3, "the clock stands still, so there is nothing more to spend"
            assert set_.events.second["refused"] == len(failed) == sum(map(len, broken)) - 3
            assert {type(error) for error in failed} == {Broken}

    aio.run_quietly(scenario())


def test_a_request_that_the_model_does_not_take_is_refused_alone() -> None:
    bad = row_of(0xFFFFFF)

    async def scenario() -> None:
        async with serving(2) as set_:
            for triton in set_.tritons:

                def look(_: bytes, triton: FakeTriton = triton) -> None:
                    triton.reply = fake_triton.INVALID if bad in triton.rows[-1] else None

                triton.on_inference = look
            rows = [row_of(number) for number in range(40)]
            rows[20] = bad
            answers = await set_.all_of(rows)
            assert isinstance(answers.pop(20), InvalidRequest)
            assert all(isinstance(answer, InferResponse) for answer in answers)
            sent = [rows for triton in set_.tritons for rows in triton.rows]
            assert sum(bad in rows for rows in sent) == 2, "with others and by itself"
            assert [bad] in sent
            assert not set_.events.second, "one by one is not a second attempt"
            assert not set_.events.ejections

    aio.run_quietly(scenario())


def test_a_model_that_fails_at_one_row_fails_for_nobody_else() -> None:
    bad = row_of(0xFFFFFF)

    async def scenario() -> None:
        async with serving(1) as set_:
            (triton,) = set_.tritons

            def look(_: bytes) -> None:
                triton.reply = fake_triton.INTERNAL if bad in triton.rows[-1] else None

            triton.on_inference = look
            rows = [row_of(number) for number in range(20)]
            rows[7] = bad
            answers = await set_.all_of(rows)
            assert isinstance(answers.pop(7), UpstreamFailure)
            assert all(isinstance(answer, InferResponse) for answer in answers)
            assert sorted(map(len, triton.rows)) == [1] * 20 + [19]

    aio.run_quietly(scenario())


def test_a_replica_that_lies_about_rows_is_not_believed() -> None:
    async def scenario() -> None:
        async with serving(1) as set_:
            (triton,) = set_.tritons

            def look(_: bytes) -> None:
                triton.echoes = not merged(triton.rows[-1])

            triton.on_inference = look
            assert not failures(await set_.burst(20)), "one row for nineteen is nobody's answer"
            assert sorted(map(len, triton.rows)) == [1] * 20 + [19]

    aio.run_quietly(scenario())


def test_a_version_that_one_replica_does_not_have_is_found_elsewhere_by_everybody() -> None:
    async def scenario() -> None:
        async with serving(2) as set_:
            without, having = set_.tritons
            without.reply = fake_triton.NOT_LOADED
            while not without.inferences:
                answers = await set_.burst(40)
                assert not failures(answers)
            assert {a.replica for a in answers.values() if isinstance(a, InferResponse)} == {having.name}
            assert set_.events.ejections == [(without.name, "m", 1, "not_loaded")]

    aio.run_quietly(scenario())


def test_a_full_queue_is_tried_elsewhere_by_every_member() -> None:
    async def scenario() -> None:
        async with serving(2) as set_:
            full, well = set_.tritons
            full.reply = fake_triton.QUEUE_FULL
            while not any(map(merged, full.rows)):
                answers = await set_.burst(40)
                assert not failures(answers)
            assert {a.replica for a in answers.values() if isinstance(a, InferResponse)} == {well.name}
            assert not set_.events.ejections

    aio.run_quietly(scenario())


def test_a_replica_that_is_killed_costs_no_request() -> None:
    async def scenario() -> None:
        async with serving(2, watched=True) as set_:
            killed = set_.tritons[0]
            for triton in set_.tritons:
                triton.delay_s = 0.005
            assert not failures(await set_.burst(60))
            asking = [asyncio.create_task(set_.ask(row_of(1000 + number))) for number in range(200)]
            for _ in range(3):
                sent = len(killed.inferences)
                while len(killed.inferences) == sent:
                    asking += [asyncio.create_task(set_.ask(row_of(2000 + len(asking)))) for _ in range(50)]
                    await asyncio.gather(*asking[-50:])
                asking += [asyncio.create_task(set_.ask(row_of(2000 + len(asking)))) for _ in range(50)]
                await aio.turns(3)
                await killed.kill()
                await asyncio.gather(*asking)
                await killed.start()
                await aio.until(lambda: all(state.healthy for state in set_.replicas.states()))
            assert all(task.result().outputs for task in asking)
            assert any(map(merged, killed.rows))

    aio.run(scenario())


def test_clients_that_go_harm_nobody_and_are_counted() -> None:
    async def scenario() -> None:
        async with serving(1) as set_:
            (triton,) = set_.tritons
            triton.stuck = True
            tasks = [asyncio.create_task(set_.ask(row_of(number))) for number in range(20)]
            await aio.until(lambda: len(triton.inferences) == 2)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks[::2], return_exceptions=True)
            assert sum(state.in_flight for state in set_.replicas.states()) == 10
            triton.stuck = False
            for number in range(1, 20, 2):
                assert bytes((await tasks[number]).outputs[0].data) == row_of(number)
            assert set_.events.attempts[triton.name, "cancelled"] == 10
            assert not set_.events.ejections
            triton.stuck = True
            tasks = [asyncio.create_task(set_.ask(row_of(number))) for number in range(20)]
            await aio.until(lambda: any(map(merged, triton.rows[2:])))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert sum(state.in_flight for state in set_.replicas.states()) == 0
            triton.stuck = False
            assert not failures(await set_.burst(20))

    aio.run_quietly(scenario())


def test_a_hedge_that_wins_leaves_those_beside_the_loser_alone() -> None:
    async def scenario() -> None:
        settings = replace(QUICK, hedge=True, hedge_floor_s=0.02)
        async with serving(2, settings, watched=True) as set_:
            for _ in range(10):
                assert not failures(await set_.burst(40))
            slow = set_.tritons[0]
            slow.stuck = True
            while not set_.events.second["hedge"]:
                assert not failures(await set_.burst(20))
            slow.stuck = False
            assert not failures(await set_.burst(20))

    aio.run_quietly(scenario())


def test_closing_the_set_ends_everybody_who_waits() -> None:
    async def scenario() -> None:
        async with serving(2) as set_:
            for triton in set_.tritons:
                triton.stuck = True
            tasks = [asyncio.create_task(set_.ask(row_of(number))) for number in range(20)]
            await aio.until(lambda: any(map(merged, set_.tritons[0].rows + set_.tritons[1].rows)))
            await set_.replicas.aclose()
            for error in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(error, Unavailable)

    aio.run_quietly(scenario())


def test_one_connection_that_an_idle_triton_closed_costs_nobody_an_answer() -> None:
    async def scenario() -> None:
        async with serving(1, ReplicaSettings()) as set_:
            (triton,) = set_.tritons
            triton.delay_s = 0.01
            assert not failures(await set_.burst(2))  # two at once: two connections are idle now
            triton.delay_s, before = 0.0, len(triton.inferences)

            def close(_: bytes) -> None:
                triton.breaks = len(triton.inferences) == before + 2

            triton.on_inference = close
            assert not failures(await set_.burst(64))
            assert len(triton.inferences) >= before + 3, "one was lost"

    aio.run_quietly(scenario())


def test_one_broken_exchange_makes_a_replica_look_slow_once() -> None:
    async def scenario() -> None:
        async with serving(2) as set_:
            assert not failures(await set_.burst(60))
            bad = set_.tritons[0]
            pairs = set_.replicas._roster.version(("m", 1)).pairs
            pair = next(pair for pair in pairs if pair.replica.name == bad.name)
            before = pair.latency_s
            broken = breaks_of(bad, lambda rows: merged(rows) and not broken)
            while not broken:
                assert not failures(await set_.burst(40))
            # One failure doubles it; what else is in it are answers of this burst.
            assert pair.latency_s < 100 * before, (len(broken[0]), before, pair.latency_s)

    aio.run_quietly(scenario())
