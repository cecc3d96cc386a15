"""Second attempts of a ``ReplicaSet``: retries, hedges, poison and sequences, over real sockets."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from services.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    Unavailable,
    UpstreamFailure,
)
from services.core.inference import InferResponse, Parameter
from tests.fakes import aio, fake_triton
from tests.fakes.fake_triton import FakeTriton
from tests.fakes.serving_replicas import QUICK, failures, request, serving


def test_a_full_queue_is_tried_elsewhere_once_and_a_clients_mistake_never() -> None:
    async def scenario() -> None:
        async with serving(2, watched=False) as set_:
            set_.tritons[0].reply = fake_triton.QUEUE_FULL
            assert not failures(await set_.ask_many(10, at_once=1))
            assert not set_.events.ejections
            for triton in set_.tritons:
                triton.reply = fake_triton.INVALID
                triton.inferences.clear()
            with pytest.raises(InvalidRequest):
                await set_.ask()
            assert sum(len(triton.inferences) for triton in set_.tritons) == 1

    aio.run(scenario())


def test_second_attempts_stay_within_the_budget_when_everything_fails() -> None:
    async def scenario() -> None:
        async with serving(3, watched=False) as set_:
            for triton in set_.tritons:
                triton.reply = fake_triton.QUEUE_FULL
            answers = await set_.ask_many(500)
            assert all(isinstance(error, Overloaded) for error in failures(answers))
            assert len(failures(answers)) == 500
            sent = sum(len(triton.inferences) for triton in set_.tritons)
            assert 500 < sent <= 500 * 1.2 + QUICK.retries_per_s * 10
            assert set_.events.second["refused"] > 0

    aio.run(scenario())


def test_no_attempt_goes_past_the_deadline() -> None:
    async def scenario() -> None:
        async with serving(2, watched=False) as set_:
            for triton in set_.tritons:
                triton.frozen = True
            began = time.perf_counter()
            with pytest.raises((DeadlineExceeded, Unavailable)):
                await set_.ask(timeout_s=0.3)
            assert time.perf_counter() - began < 1.0

    aio.run(scenario())


def test_a_first_attempt_that_takes_too_long_is_made_again_elsewhere() -> None:
    async def scenario() -> None:
        async with serving(2, replace(QUICK, attempt_timeout_s=0.2), watched=False) as set_:
            set_.tritons[0].stuck = True
            answers = [await set_.ask() for _ in range(6)]
            assert all(answer.replica == set_.tritons[1].name for answer in answers)
            assert max(answer.attempts for answer in answers) == 2

    aio.run(scenario())


def test_a_request_that_broke_two_replicas_is_not_sent_to_a_third() -> None:
    deadly = b"\xff"

    async def scenario() -> None:
        async with serving(3, watched=False) as set_:
            await set_.ask_many(60)

            def die(triton: FakeTriton) -> None:
                def look(body: bytes) -> None:
                    triton.breaks = body.endswith(deadly)

                triton.on_inference = look

            for triton in set_.tritons:
                die(triton)
                triton.inferences.clear()
            with pytest.raises(Unavailable):
                await set_.ask(data=deadly)
            with pytest.raises(UpstreamFailure, match="ended the connections of two replicas"):
                await set_.ask(data=deadly)
            hit = sum(body.endswith(deadly) for triton in set_.tritons for body in triton.inferences)
            assert hit == 2
            assert not failures(await set_.ask_many(60)), "other requests are served"

    aio.run(scenario())


def test_a_request_that_is_always_sent_is_not_taken_for_poison() -> None:
    async def scenario() -> None:
        async with serving(2, watched=False) as set_:
            for _ in range(20):
                await set_.ask()
            for triton in set_.tritons:
                triton.breaks = True
            with pytest.raises(Unavailable):
                await set_.ask()
            for triton in set_.tritons:
                triton.breaks = False
            assert (await set_.ask()).version == 1

    aio.run(scenario())


def test_a_sequence_stays_on_its_replica_and_is_never_sent_twice() -> None:
    async def scenario() -> None:
        async with serving(3, watched=False) as set_:

            async def ask(sequence: str, **more: Parameter) -> InferResponse:
                return await set_.replicas.infer(replace(request(b"\x01", **more), sequence=sequence), 1, 5.0)

            begun = {str(i): (await ask(str(i), sequence_start=True)).replica for i in range(30)}
            assert len(set(begun.values())) == 3
            for _ in range(3):
                assert {i: (await ask(i)).replica for i in begun} == begun
            for triton in set_.tritons:
                triton.breaks = True
                triton.inferences.clear()
            with pytest.raises(Unavailable):
                await ask("1")
            assert sum(len(triton.inferences) for triton in set_.tritons) == 1

    aio.run(scenario())


def test_a_sequence_that_begins_may_begin_elsewhere_when_nothing_was_sent() -> None:
    async def scenario() -> None:
        async with serving(2, watched=False) as set_:
            await set_.tritons[0].kill()
            for i in range(10):
                begun = await set_.replicas.infer(replace(request(sequence_start=True), sequence=str(i)), 1, 5.0)
                again = await set_.replicas.infer(replace(request(), sequence=str(i)), 1, 5.0)
                assert begun.replica == again.replica == set_.tritons[1].name

    aio.run(scenario())


def test_a_cancelled_request_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        async with serving(2, watched=False) as set_:
            for triton in set_.tritons:
                triton.frozen = True
            task = asyncio.create_task(set_.ask())
            await aio.until(lambda: any(triton.inferences for triton in set_.tritons))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert all(state.in_flight == 0 for state in set_.replicas.states())
            assert sum(count for (_, outcome), count in set_.events.attempts.items() if outcome == "cancelled") == 1

    aio.run(scenario())


def test_a_hedge_answers_for_a_slow_replica_and_its_loser_is_cancelled() -> None:
    async def scenario() -> None:
        async with serving(2, replace(QUICK, hedge=True, hedge_floor_s=0.02)) as set_:
            await set_.ask_many(200)
            await asyncio.sleep(0.3)
            slow, quick = set_.tritons
            slow.delay_s = 5.0
            while not set_.events.second["hedge"]:
                answers = await set_.ask_many(16)
                assert {a.replica for a in answers if isinstance(a, InferResponse)} == {quick.name}
                assert not failures(answers)
            assert all(state.in_flight == 0 for state in set_.replicas.states())

    aio.run(scenario())


def test_a_hedge_that_the_budget_refuses_is_told_and_the_first_attempt_is_waited_for() -> None:
    async def scenario() -> None:
        poor = replace(QUICK, hedge=True, hedge_floor_s=0.02, retry_share=0.0, retries_per_s=0.0)
        async with serving(2, poor) as set_:
            await set_.ask_many(200)
            await asyncio.sleep(0.3)
            for triton in set_.tritons:
                triton.delay_s = 0.3
            assert not failures(await set_.ask_many(8))
            assert set_.events.second == {"refused": 8}

    aio.run(scenario())


def test_a_hedged_request_fails_only_when_both_attempts_have() -> None:
    async def scenario() -> None:
        async with serving(2, replace(QUICK, hedge=True, hedge_floor_s=0.02)) as set_:
            await set_.ask_many(200)
            await asyncio.sleep(0.3)
            for triton in set_.tritons:
                triton.delay_s = 0.3
            asked = asyncio.create_task(set_.ask())
            await aio.until(lambda: set_.events.second["hedge"])
            first = next(state.replica for state in set_.replicas.states() if state.in_flight)
            await next(triton for triton in set_.tritons if triton.name == first).kill()
            answer = await asked
            assert answer.replica != first
            assert answer.attempts == 2

    aio.run(scenario())


@pytest.mark.parametrize("hedged", [False, True])
def test_a_copy_is_sent_once_and_takes_nothing_of_the_budget(hedged: bool) -> None:
    async def scenario() -> None:
        async with serving(2, replace(QUICK, hedge=hedged), watched=False) as set_:
            assert not failures(await set_.ask_many(40))
            for triton in set_.tritons:
                triton.reply = fake_triton.QUEUE_FULL
                triton.inferences.clear()
            for _ in range(20):
                with pytest.raises(Overloaded):
                    await set_.replicas.infer(replace(request(), is_copy=True), 1, 5.0)
            assert sum(len(triton.inferences) for triton in set_.tritons) == 20
            assert not set_.events.second

    aio.run(scenario())


def test_a_copy_that_is_late_leaves_no_request_that_lingers() -> None:
    async def scenario() -> None:
        async with serving(1, watched=False) as set_:
            changes: list[int] = []
            set_.replicas.on_lingering(lambda _model, _version, change: changes.append(change))
            await set_.ask()
            set_.tritons[0].stuck = True
            with pytest.raises(DeadlineExceeded):
                await set_.replicas.infer(replace(request(), is_copy=True), 1, 0.1)
            assert not changes
            with pytest.raises(DeadlineExceeded):
                await set_.ask(timeout_s=0.1)
            assert changes == [1]

    aio.run(scenario())
