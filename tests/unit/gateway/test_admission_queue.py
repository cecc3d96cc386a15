from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.admission.queue import Urgency, WaitQueue


@dataclass(eq=False)
class Waiter:
    urgency: Urgency


def queue_of(*urgencies: tuple[int, float]) -> tuple[WaitQueue[Waiter], list[Waiter]]:
    queue: WaitQueue[Waiter] = WaitQueue()
    waiters = [Waiter((priority, deadline, number)) for number, (priority, deadline) in enumerate(urgencies)]
    for waiter in waiters:
        queue.add(waiter)
    return queue, waiters


def test_the_highest_priority_is_first_then_the_earliest_deadline_then_who_came_first() -> None:
    queue, (late, early, high, early_too) = queue_of((2, 9.0), (2, 5.0), (1, 99.0), (2, 5.0))
    assert [queue.pop() for _ in range(4)] == [high, early, early_too, late]


def test_the_rank_says_how_many_are_more_urgent() -> None:
    queue, _ = queue_of((2, 9.0), (2, 5.0), (1, 99.0))
    assert [queue.rank(urgency) for urgency in [(1, 1.0, 9), (2, 1.0, 9), (2, 6.0, 9), (3, 0.0, 9)]] == [0, 1, 2, 3]


def test_who_does_not_wait_cannot_be_taken_out() -> None:
    queue, (one,) = queue_of((2, 9.0))
    with pytest.raises(ValueError, match="does not wait"):
        queue.remove(Waiter(one.urgency))
    queue.remove(one)
    with pytest.raises(ValueError, match="does not wait"):
        queue.remove(one)


@given(st.lists(st.tuples(st.integers(1, 4), st.floats(0, 10)), max_size=40), st.data())
def test_any_waiter_can_leave_and_the_others_keep_their_order(
    urgencies: list[tuple[int, float]], data: st.DataObject
) -> None:
    queue, waiters = queue_of(*urgencies)
    gone = data.draw(st.lists(st.sampled_from(waiters), unique=True)) if waiters else []
    for waiter in gone:
        queue.remove(waiter)
    left = sorted((waiter for waiter in waiters if waiter not in gone), key=lambda waiter: waiter.urgency)
    if left:
        assert queue.least is left[-1]
    assert [queue.pop() for _ in range(len(queue))] == left
