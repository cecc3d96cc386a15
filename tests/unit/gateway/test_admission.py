"""Who is let in, who waits, who is refused and with which words."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from services.core.errors import OK, DeadlineExceeded, Overloaded, Unavailable
from services.core.route import Route, RouteTable
from services.gateway.admission import Admission, AdmissionSettings, GateState, Refusal, Slot
from tests.fakes.aio import run, until
from tests.fakes.clock import FakeClock

FAR = 1_000_060.0  # a minute after the fake clock's start
LATENCY_S = 0.01


class Gate:
    """An admission with a fixed limit of one model's requests, and helpers to fill it."""

    def __init__(self, fixed_limit: int = 2, **settings: Any) -> None:
        self.clock = FakeClock()
        self.told: list[tuple[str, int, Refusal]] = []
        self.published: list[int] = []
        self.admission = Admission(
            AdmissionSettings(fixed_limit=fixed_limit, **{"burst_requests": 1, **settings}),
            publish=self.published.append,
            refused=lambda *what: self.told.append(what),
            clock=self.clock,
            wall=self.clock,
        )
        self.order: list[str] = []

    def fill(self, model: str = "m", version: int = 1) -> list[Slot]:
        slots: list[Slot] = []
        while (slot := self.admission.enter(model, version)) is not None:
            slots.append(slot)
        return slots

    def teach(self, latency_s: float = LATENCY_S, version: int = 1) -> None:
        """Let the gate learn how long requests take."""
        for _ in range(100):
            slot = self.admission.enter("m", version)
            assert slot is not None
            self.clock.advance(latency_s)
            slot.leave(latency_s, OK.outcome)

    def wait(self, name: str = "", *, deadline: float = FAR, priority: int = 0, version: int = 1) -> asyncio.Task[Slot]:
        async def waiting() -> Slot:
            slot = await self.admission.wait("m", version, deadline=deadline, priority=priority)
            self.order.append(name)
            return slot

        return asyncio.create_task(waiting())

    def state(self, version: int = 1) -> GateState:
        return next(state for state in self.admission.states() if state.version == version)


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def wrapper() -> None:
        run(test())

    wrapper.__name__ = test.__name__
    return wrapper


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_requests_enter_until_the_limit_and_again_when_one_left() -> None:
    gate = Gate(fixed_limit=3)
    slots = gate.fill()
    assert len(slots) == gate.admission.in_flight == gate.state().in_flight == 3
    slots.pop().leave(LATENCY_S, OK.outcome)
    assert len(gate.fill()) == 1
    assert gate.published == [1, 2, 3, 2, 3]


def test_a_place_is_given_back_once() -> None:
    slot = Gate().fill()[0]
    slot.leave(LATENCY_S, OK.outcome)
    with pytest.raises(RuntimeError, match="twice"):
        slot.leave(LATENCY_S, OK.outcome)


@in_loop
async def test_waiters_are_let_in_by_priority_then_deadline_then_arrival() -> None:
    gate = Gate(fixed_limit=1, default_priority=2)
    (slot,) = gate.fill()
    for name, deadline, priority in (
        ("default, late", FAR, 0),
        ("low, early", FAR - 9, 3),
        ("default, early", FAR - 9, 0),
        ("the default's level, early, after it", FAR - 9, 2),
        ("high, late", FAR, 1),
    ):
        gate.wait(name, deadline=deadline, priority=priority)
        await settle()
    for _ in range(5):
        slot.leave(LATENCY_S, OK.outcome)
        await settle()
        slot = Slot(gate.admission, next(iter(gate.admission._gates.values())))
    assert gate.order == [
        "high, late",
        "default, early",
        "the default's level, early, after it",
        "default, late",
        "low, early",
    ]


@in_loop
async def test_a_newcomer_does_not_overtake_who_waits_by_entering_at_once() -> None:
    gate = Gate(fixed_limit=1)
    (slot,) = gate.fill()
    waiting = gate.wait()
    await settle()
    slot.leave(LATENCY_S, OK.outcome)  # the place is the waiter's, though it has not run yet
    assert gate.admission.enter("m", 1) is None
    await waiting


@in_loop
async def test_a_full_queue_refuses_at_once_with_numbers_and_a_time_to_come_back() -> None:
    gate = Gate(fixed_limit=2, max_queued=3)
    gate.fill()
    for _ in range(3):
        gate.wait()
    await settle()
    with pytest.raises(Overloaded) as refused:
        await gate.admission.wait("m", 1, deadline=FAR, priority=0)
    assert refused.value.message.startswith("2 requests of model 'm' version 1 are in flight, which is its limit now")
    assert "and 3 wait; try again after" in refused.value.message
    assert refused.value.retry_after_s > 0
    assert gate.told == [("m", 1, Refusal.FULL)]
    assert gate.state().refused == {Refusal.FULL: 1}
    gate.admission.close()


@in_loop
async def test_a_more_urgent_request_takes_the_place_of_the_least_urgent_that_waits() -> None:
    gate = Gate(fixed_limit=1, max_queued=2)
    gate.fill()
    kept, lost = gate.wait("kept", deadline=FAR - 30), gate.wait("lost", deadline=FAR - 20)
    await settle()
    urgent = gate.wait("urgent", deadline=FAR - 50)
    with pytest.raises(Overloaded, match="more urgent"):
        await lost
    assert gate.told == [("m", 1, Refusal.DISPLACED)]
    assert gate.state().queued == 2
    assert not kept.done()
    assert not urgent.done()
    gate.admission.close()


@in_loop
async def test_without_a_queue_whatever_cannot_enter_is_refused_at_once() -> None:
    gate = Gate(fixed_limit=1, max_queued=0)
    gate.fill()
    with pytest.raises(Overloaded, match="0 wait"):
        await gate.admission.wait("m", 1, deadline=FAR, priority=1)


@in_loop
async def test_who_cannot_make_it_is_refused_at_once_and_not_at_its_deadline() -> None:
    gate = Gate(fixed_limit=1)
    gate.teach()
    gate.fill()
    waiting = [gate.wait(deadline=gate.clock.now + 1.0) for _ in range(5)]
    await settle()
    # Five before it and itself, at 10 ms each, and then 10 ms in Triton.
    with pytest.raises(Overloaded, match="5 requests wait before this one") as refused:
        await gate.admission.wait("m", 1, deadline=gate.clock.now + 0.06, priority=3)
    assert "has 0.060 s left" in refused.value.message
    assert gate.told == [("m", 1, Refusal.TOO_LATE)]
    in_time = gate.wait(deadline=gate.clock.now + 0.08, priority=3)
    await settle()
    assert not in_time.done()
    assert not any(task.done() for task in waiting)
    gate.admission.close()


@in_loop
async def test_while_many_are_turned_away_the_queue_is_held_short_until_a_calm_second() -> None:
    gate = Gate(fixed_limit=1, queue_delay_s=0.03, burst_delay_s=0.2, longest_wait_s=100.0)
    gate.teach()  # 100 requests/s
    gate.fill()
    (state,) = gate.admission._gates.values()

    async def accepted() -> int:
        for number in range(100):
            task = gate.wait()
            await settle()
            if task.done():
                assert isinstance(task.exception(), Overloaded)
                return number
        raise AssertionError("nobody was refused")

    async def work_off(count: int) -> None:
        for _ in range(count):
            gate.clock.advance(0.01)
            gate.admission.left(state, LATENCY_S, OK.outcome)
            await settle()

    assert await accepted() == 20, "a burst waits as long as burst_delay_s"
    await work_off(18)
    assert await accepted() == 18, "one refusal makes no overload"
    for _ in range(16):
        assert await accepted() == 0
    await work_off(18)
    assert await accepted() == 1, "no more than queue_delay_s now"
    await work_off(4)
    gate.clock.advance(1.1)
    gate.fill()
    assert await accepted() == 20, "and a burst again after a calm second"
    gate.admission.close()


@in_loop
async def test_a_waiter_whose_time_is_over_is_not_let_in() -> None:
    gate = Gate(fixed_limit=1)
    (slot,) = gate.fill()
    waiting, next_one = gate.wait(deadline=gate.clock.now + 5.0), gate.wait()
    await settle()
    gate.clock.advance(5.0)  # the timer has not rung: it goes by the real time
    slot.leave(5.0, OK.outcome)
    with pytest.raises(DeadlineExceeded, match=r"0.000 s left after it waited 5.000 s for model 'm' version 1"):
        await waiting
    (await next_one).leave(LATENCY_S, OK.outcome)
    assert gate.told == [("m", 1, Refusal.EXPIRED)]
    assert gate.admission.in_flight == 0


@in_loop
async def test_who_has_too_little_time_left_is_not_sent_to_die_in_triton() -> None:
    gate = Gate(fixed_limit=1)
    gate.teach(0.1)
    (slot,) = gate.fill()
    waiting = gate.wait(deadline=gate.clock.now + 0.25)
    await settle()
    gate.clock.advance(0.21)  # it is alive, and Triton takes 0.1 s
    slot.leave(0.21, OK.outcome)
    with pytest.raises(DeadlineExceeded, match=r"0\.040 s left"):
        await waiting
    assert gate.told == [("m", 1, Refusal.TOO_LATE)]
    assert gate.admission.in_flight == 0


@in_loop
async def test_a_burst_that_turns_out_to_be_an_overload_is_cut_short_before_it_waited_for_long() -> None:
    gate = Gate(fixed_limit=1, queue_delay_s=0.05, burst_delay_s=0.5, longest_wait_s=100.0)
    gate.teach()  # 100 requests/s
    gate.fill()
    waiting = [gate.wait(deadline=FAR + number) for number in range(80)]
    await settle()
    assert sum(task.done() for task in waiting) == 30, "a burst is let wait, as far as it fits"
    gate.clock.advance(0.04)
    late = gate.wait(deadline=FAR + 99)
    await settle()
    assert late.done()
    assert gate.state().queued == 50, "it may still be only a burst"
    gate.clock.advance(0.02)
    late = gate.wait(deadline=FAR + 99)
    await settle()
    assert late.done()
    assert gate.state().queued < 10
    assert gate.state().refused[Refusal.SHED] > 40
    assert not waiting[0].done(), "the most urgent stay"
    gate.admission.close()


def real() -> tuple[Admission, list[Slot], float]:
    """An admission by the real clock whose only place is taken, and the present time."""
    import time

    admission = Admission(AdmissionSettings(fixed_limit=1, longest_wait_s=0.05))
    slot = admission.enter("m", 1)
    assert slot is not None
    return admission, [slot], time.perf_counter()


@in_loop
async def test_a_deadline_ends_the_wait_by_itself() -> None:
    admission, _, now = real()
    with pytest.raises(DeadlineExceeded):
        await admission.wait("m", 1, deadline=now + 0.01, priority=0)
    assert [state.queued for state in admission.states()] == [0]


@in_loop
async def test_nobody_waits_longer_than_the_longest_wait() -> None:
    admission, _, now = real()
    with pytest.raises(Overloaded, match="as long as any may"):
        await admission.wait("m", 1, deadline=now + 60.0, priority=0)
    assert admission.states()[0].refused == {Refusal.WAITED: 1}


@in_loop
async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    gate = Gate(fixed_limit=1)
    (slot,) = gate.fill()
    gone, stays = gate.wait("gone"), gate.wait("stays")
    await settle()
    gone.cancel()
    await settle()
    assert gate.state().queued == 1
    slot.leave(LATENCY_S, OK.outcome)
    (await stays).leave(LATENCY_S, OK.outcome)
    assert gate.order == ["stays"]
    assert gate.admission.in_flight == 0


@in_loop
async def test_a_waiter_that_is_cancelled_just_when_it_is_let_in_gives_its_place_on() -> None:
    gate = Gate(fixed_limit=1)
    (slot,) = gate.fill()
    gone, stays = gate.wait("gone"), gate.wait("stays")
    await settle()
    slot.leave(LATENCY_S, OK.outcome)
    gone.cancel()
    (await stays).leave(LATENCY_S, OK.outcome)
    await settle()
    assert gone.cancelled()
    assert gate.admission.in_flight == 0


@in_loop
async def test_one_versions_overload_does_not_touch_another() -> None:
    gate = Gate(fixed_limit=2, max_queued=1)
    gate.fill(version=2)
    gate.wait(version=2)
    await settle()
    with pytest.raises(Overloaded, match="version 2"):
        await gate.admission.wait("m", 2, deadline=FAR, priority=0)
    assert len(gate.fill(version=1)) == 2
    gate.admission.close()


def test_one_model_never_has_all_places_of_a_worker() -> None:
    gate = Gate(fixed_limit=1000, max_in_flight=100)
    greedy = len(gate.fill("greedy"))
    assert greedy == 80
    second = len(gate.fill("greedy too"))
    assert second >= 10
    assert len(gate.fill("newcomer")) >= 1


def test_a_worker_of_very_few_places_can_use_them() -> None:
    assert len(Gate(fixed_limit=9, max_in_flight=2).fill()) == 2
    assert len(Gate(fixed_limit=9, max_in_flight=1).fill()) == 1


@in_loop
async def test_who_waits_for_the_worker_and_not_for_its_version_is_let_in_when_another_version_leaves() -> None:
    gate = Gate(fixed_limit=1000, max_in_flight=10)
    first = gate.fill(version=1)
    gate.fill(version=2)
    waiting = gate.wait(version=3)
    if not waiting.done():
        await settle()
    while not waiting.done():
        first.pop().leave(LATENCY_S, OK.outcome)
        await settle()
    (await waiting).leave(LATENCY_S, OK.outcome)


@in_loop
async def test_an_ending_worker_refuses_who_waits_and_who_comes() -> None:
    gate = Gate(fixed_limit=1)
    (slot,) = gate.fill()
    waiting = gate.wait()
    await settle()
    gate.admission.close()
    with pytest.raises(Unavailable, match="ending"):
        await waiting
    with pytest.raises(Unavailable, match="ending"):
        await gate.admission.wait("m", 1, deadline=FAR, priority=0)
    slot.leave(LATENCY_S, OK.outcome)
    assert [reason for *_, reason in gate.told] == [Refusal.ENDING] * 2


@in_loop
async def test_versions_that_are_not_served_any_more_are_forgotten_when_they_are_empty() -> None:
    gate = Gate(fixed_limit=1)
    (slot,) = gate.fill(version=1)
    waiting = gate.wait(version=1)
    await settle()
    gate.fill(version=2)[0].leave(LATENCY_S, OK.outcome)
    gate.fill(version=3)[0].leave(LATENCY_S, OK.outcome)
    gate.admission.retain(RouteTable(2, {"m": Route("m", 3, versions=frozenset({3}))}))
    assert [state.version for state in gate.admission.states()] == [1, 3]
    slot.leave(LATENCY_S, OK.outcome)
    (await waiting).leave(LATENCY_S, OK.outcome)
    assert [state.version for state in gate.admission.states()] == [3]


def test_streams_have_a_limit_that_somebody_chose() -> None:
    admission = Admission(AdmissionSettings(stream_limit=7))
    slots = [admission.enter("m", 1, decoupled=True) for _ in range(8)]
    assert slots[-1] is None
    for slot in slots[:-1]:
        assert slot is not None
        slot.leave(0.0, OK.outcome)
    assert admission.states()[0].limit == 7


@in_loop
async def test_an_adapting_limit_learns_from_requests_that_wanted_more() -> None:
    for max_queued in (0, 100):
        gate = Gate(fixed_limit=0, initial_limit=4, max_queued=max_queued, longest_wait_s=100.0)
        for _ in range(200):
            slots, waiting = gate.fill(), [gate.wait() for _ in range(50)]
            await settle()
            for _ in range(2):
                gate.clock.advance(0.002)
                for slot in slots:
                    slot.leave(0.002, OK.outcome)
                await settle()
                slots = [task.result() for task in waiting if task.done() and task.exception() is None]
                waiting = [task for task in waiting if not task.done()]
            for task in waiting:
                task.cancel()
            await settle()
            for slot in slots:
                slot.leave(0.002, OK.outcome)
        assert gate.state().limit > 20, gate.state()


def test_an_adapting_limit_that_nobody_waits_for_stays() -> None:
    gate = Gate(fixed_limit=0, initial_limit=4)
    for _ in range(400):
        slots = gate.fill()
        gate.clock.advance(0.002)
        for slot in slots:
            slot.leave(0.002, OK.outcome)
    assert gate.state().limit == 4
    assert gate.state().limit_reason == "not tried yet"


@in_loop
async def test_a_version_that_was_idle_for_long_is_not_taken_for_a_stalled_one() -> None:
    gate = Gate(fixed_limit=1)
    gate.teach()
    gate.clock.advance(3600.0)
    gate.fill()
    waiting = gate.wait(deadline=gate.clock.now + 1.0)
    await settle()
    assert not waiting.done()
    gate.admission.close()


@in_loop
async def test_when_nothing_comes_back_newcomers_are_refused_soon() -> None:
    gate = Gate(fixed_limit=1, longest_wait_s=100.0)
    gate.teach()
    gate.fill()
    gate.clock.advance(2.0)
    with pytest.raises(Overloaded, match="would have an answer in about"):
        await gate.admission.wait("m", 1, deadline=gate.clock.now + 1.0, priority=0)


@in_loop
async def test_clients_that_are_refused_together_are_not_sent_back_together() -> None:
    gate = Gate(fixed_limit=1, max_queued=0)
    gate.teach(0.2)
    gate.fill()
    times: list[float] = []
    for _ in range(20):
        with pytest.raises(Overloaded) as refused:
            await gate.admission.wait("m", 1, deadline=FAR, priority=0)
        times.append(refused.value.retry_after_s)
    assert len(set(times)) >= 15
    assert min(times) >= 0.2


@in_loop
async def test_no_place_is_ever_lost_whatever_happens_in_which_order() -> None:
    chance = random.Random(7)
    admission = Admission(AdmissionSettings(fixed_limit=3, max_in_flight=8, max_queued=6, longest_wait_s=0.02))
    most = 0

    async def one() -> None:
        nonlocal most
        import time

        version, now = chance.randint(1, 4), time.perf_counter()
        slot = admission.enter("m", version)
        if slot is None:
            deadline = now + chance.choice([0.0, 0.003, 0.01, 10.0])
            slot = await admission.wait("m", version, deadline=deadline, priority=chance.randint(0, 3))
        most = max(most, admission.in_flight)
        try:
            await asyncio.sleep(chance.random() * 0.004)
        finally:
            slot.leave(time.perf_counter() - now, OK.outcome)

    tasks: list[asyncio.Task[None]] = []
    for _ in range(1500):
        tasks.append(asyncio.create_task(one()))
        if chance.random() < 0.2:
            chance.choice(tasks).cancel()
        if chance.random() < 0.3:
            await asyncio.sleep(0.001)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    allowed = (Overloaded, DeadlineExceeded, asyncio.CancelledError)
    assert all(result is None or isinstance(result, allowed) for result in results)
    assert any(result is None for result in results)
    assert 3 < most <= 8
    await until(lambda: admission.in_flight == 0)
    for state in admission.states():
        assert (state.in_flight, state.queued) == (0, 0)
    refused = sum(sum(state.refused.values()) for state in admission.states())
    assert refused == sum(isinstance(result, (Overloaded, DeadlineExceeded)) for result in results)


@in_loop
async def test_requests_that_hang_while_a_replica_is_given_up_make_nobody_else_fail() -> None:
    gate = Gate(fixed_limit=4, burst_requests=64, stall_s=1.0)
    gate.teach()
    hanging = gate.fill()
    waiting = []
    for _ in range(50):
        gate.clock.advance(0.015)
        waiting.append(gate.wait(deadline=gate.clock() + 2.0))
        await settle()
    assert not any(task.done() for task in waiting), "0.75 s of silence refuse nobody"
    for slot in hanging:
        slot.leave(0.75, OK.outcome)
    await settle()
    assert sum(task.done() for task in waiting) == 4
    for task in waiting:
        task.cancel()


@in_loop
async def test_what_triton_still_works_on_keeps_its_place() -> None:
    gate = Gate(fixed_limit=2)
    first, second = gate.fill()
    gate.admission.lingers("m", 1, 1)
    first.leave(0.0, "deadline_exceeded")
    assert gate.admission.enter("m", 1) is None, "its answer was given up, and not its place in Triton's queue"
    waiting = gate.wait()
    await settle()
    assert not waiting.done()
    gate.admission.lingers("m", 1, -1)
    await settle()
    assert waiting.done(), "the place is free as soon as Triton is through with it"
    (await waiting).leave(0.0, OK.outcome)
    second.leave(0.0, OK.outcome)
    assert gate.state().in_flight == 0


@in_loop
async def test_more_never_stop_lingering_than_began() -> None:
    gate = Gate(fixed_limit=1)
    gate.admission.lingers("unknown", 1, 1)
    (slot,) = gate.fill()
    gate.admission.lingers("m", 1, -3)
    slot.leave(0.0, OK.outcome)
    assert len(gate.fill()) == 1


@pytest.mark.parametrize(
    ("at_once", "workers", "replicas", "limit"),
    [
        (4, 1, 1, 12),
        (4, 2, 1, 6),
        (4, 2, 3, 18),
        (1, 2, 1, 2),
        (1, 8, 1, 2),  # least_limit
        (1, 4, 2, 2),
        (128, 2, 1, 32),  # more is for it to find out
        (4, 1, 0, 12),  # no replica is known yet
        (0, 2, 3, 8),  # nobody knows, as of an ensemble
    ],
)
def test_a_limit_begins_at_the_workers_share_of_what_triton_computes_at_once(
    at_once: int, workers: int, replicas: int, limit: int
) -> None:
    admission = Admission(workers=workers, replicas=lambda: replicas)
    assert admission.enter("m", 1, at_once=at_once) is not None
    (state,) = admission.states()
    assert state.limit == limit


def test_a_limit_begins_where_the_operator_says() -> None:
    admission = Admission(AdmissionSettings(initial_limit=5), workers=2)
    admission.enter("m", 1, at_once=64)
    (state,) = admission.states()
    assert state.limit == 5


@in_loop
async def test_while_most_are_turned_away_a_queue_does_not_stand_as_long_as_its_clients_patience() -> None:
    gate = Gate(fixed_limit=1, burst_requests=64, queue_delay_s=0.03)
    gate.teach()  # 100 requests/s
    gate.fill()
    for _ in range(200):
        gate.wait(deadline=gate.clock.now + 0.4)
        await settle()
    gate.clock.advance(0.05)
    with pytest.raises(Overloaded):
        await gate.admission.wait("m", 1, deadline=gate.clock.now + 0.4, priority=0)
    assert gate.state().queued <= 3
    gate.admission.close()
    await settle()
