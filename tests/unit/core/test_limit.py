"""The limit's arithmetic, one slot at a time, without a server."""

import statistics
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import OK, DeadlineExceeded, InvalidRequest, Overloaded, Unavailable, status_of
from services.core.limit import SWING, FixedLimit, KneeLimit

TIMED_OUT = status_of(DeadlineExceeded()).outcome
REFUSED = status_of(Overloaded("")).outcome


class Feed:
    """Gives a limit the requests that a server with such a latency would send back, slot by slot of 0.1 s."""

    def __init__(self, limit: KneeLimit, latency_s: Callable[[int], float]) -> None:
        self.limit = limit
        self.latency_s = latency_s
        self.now = 0.0

    def slots(self, count: int, *, used: float = 1.0, outcome: str = OK.outcome, per_slot: int = 50) -> None:
        for _ in range(count * per_slot):
            self.now += 0.1 / per_slot
            in_flight = max(1, int(self.limit.value * used))
            if used == 1.0:
                self.limit.pressed(self.now)
            self.limit.left(self.now, self.latency_s(in_flight), in_flight, outcome)


def flat(_: int) -> float:
    """All the room in the world: more in flight costs nothing."""
    return 0.005


def queue(in_flight: int) -> float:
    """No room at all: what is in flight only waits."""
    return 0.0005 * in_flight


def test_the_limit_grows_fast_while_throughput_grows_with_it() -> None:
    feed = Feed(KneeLimit(4), flat)
    feed.slots(30)
    assert feed.limit.base > 100


def test_the_limit_shrinks_when_more_in_flight_brings_nothing() -> None:
    feed, reasons = Feed(KneeLimit(40), queue), set[str]()
    for _ in range(100):
        feed.slots(1)
        reasons.add(feed.limit.reason)
    assert feed.limit.base < 20
    assert any("10 % more in flight give" in reason for reason in reasons)


def test_a_limit_that_is_not_used_up_does_not_move() -> None:
    for latency_s, initial in ((flat, 40), (queue, 40), (flat, 4)):
        feed = Feed(KneeLimit(initial), latency_s)
        feed.slots(200, used=0.5)
        assert feed.limit.base == initial
        assert feed.limit.reason == "not tried yet"


def test_the_limit_is_tried_below_and_above_its_base_in_turns_that_the_clock_fixes() -> None:
    first, second = Feed(KneeLimit(40), flat), Feed(KneeLimit(40), flat)
    second.now = 1.7  # it began later
    second.slots(3, used=0.5)
    while first.now < second.now:
        first.slots(1, used=0.5)
    values: list[tuple[int, int]] = []
    for _ in range(20):
        for feed in (first, second):
            feed.slots(1, used=0.5)
        values.append((first.limit.value, second.limit.value))
    low, high = 40 / SWING, 40 * SWING
    assert {value for pair in values for value in pair} <= {int(low), int(low) + 1, int(high)}
    assert all((one < 40) == (other < 40) for one, other in values)
    assert {one < 40 for one, _ in values} == {True, False}


def test_a_limit_that_is_a_fraction_is_each_whole_number_beside_it_as_often_as_it_takes() -> None:
    limit = KneeLimit(5, informed=True)
    limit._starting = False
    values: dict[bool, list[int]] = {False: [], True: []}
    for i in range(200_000):
        now = 100.0 + i * 1e-4
        limit.left(now, 0.001, 1, "timed out")
        values[limit._slot.number & 1 == 1].append(limit.value)
    assert statistics.fmean(values[False]) == pytest.approx(5 / SWING, rel=1e-3)
    assert statistics.fmean(values[True]) == pytest.approx(5 * SWING, rel=1e-3)
    assert {len(set(seen)) for seen in values.values()} <= {1, 2}


def test_an_informed_limit_takes_smaller_steps_and_clearer_evidence_than_one_that_guesses() -> None:
    guessing, informed = Feed(KneeLimit(40), flat), Feed(KneeLimit(40, informed=True), flat)
    for feed in (guessing, informed):
        feed.slots(12, used=1.0)
    assert 40 < informed.limit.base <= guessing.limit.base


def test_a_few_timeouts_do_not_move_the_limit() -> None:
    feed = Feed(KneeLimit(40), flat)
    feed.slots(3, used=0.5)
    for _ in range(20):
        feed.slots(1, used=0.5, per_slot=40)
        feed.latency_s = lambda _: 1.0
        for _ in range(4):
            feed.limit.left(feed.now, 1.0, 20, TIMED_OUT)
        feed.latency_s = flat
    assert feed.limit.base == 40


def test_many_drops_shrink_the_limit_step_by_step_and_never_below_its_least() -> None:
    for outcome, duration_s in ((TIMED_OUT, 1.0), (REFUSED, 0.001)):
        feed = Feed(KneeLimit(40, least=3), flat)
        feed.slots(2, used=0.5)
        feed.latency_s = lambda _, duration_s=duration_s: duration_s  # type: ignore[misc]
        feed.slots(2, outcome=outcome, used=0.5)
        assert 15 < feed.limit.base < 40
        feed.slots(100, outcome=outcome, used=0.5)
        assert feed.limit.base == 3
        assert feed.limit.value >= 3


def test_when_drops_end_the_limit_is_soon_back() -> None:
    feed = Feed(KneeLimit(40), flat)
    feed.slots(2, used=0.5)
    feed.latency_s = lambda _: 1.0
    feed.slots(50, outcome=TIMED_OUT, used=0.5)
    assert feed.limit.base < 5
    feed.latency_s = flat
    feed.slots(3, used=0.5)
    assert feed.limit.base >= 0.6 * 40


def test_clients_with_no_patience_do_not_shrink_the_limit() -> None:
    feed = Feed(KneeLimit(40), flat)
    feed.slots(2, used=0.5)
    feed.latency_s = lambda _: 0.001  # they give up before the model can have answered
    feed.slots(50, outcome=TIMED_OUT, used=0.5)
    assert feed.limit.base == 40


def test_outcomes_that_say_nothing_about_load_teach_nothing() -> None:
    feed = Feed(KneeLimit(40), flat)
    for outcome in (status_of(InvalidRequest()).outcome, status_of(Unavailable("")).outcome, "cancelled", "expired"):
        feed.slots(20, outcome=outcome)
    assert feed.limit.base == 40


@given(
    st.integers(1, 64),
    st.lists(
        st.tuples(
            st.floats(1e-4, 5.0),
            st.integers(1, 600),
            st.sampled_from([OK.outcome, TIMED_OUT, REFUSED, "cancelled"]),
            st.floats(1e-6, 2.0),
        ),
        max_size=300,
    ),
)
def test_whatever_happens_the_limit_stays_within_its_bounds(
    initial: int, events: list[tuple[float, int, str, float]]
) -> None:
    limit, now = KneeLimit(initial, least=2, most=64), 0.0
    for duration_s, in_flight, outcome, gap_s in events:
        now += gap_s
        limit.left(now, duration_s, in_flight, outcome)
        assert 2 <= limit.value <= 64
        assert 2 <= limit.base <= 64


def test_at_its_most_the_limit_tries_no_more() -> None:
    feed = Feed(KneeLimit(60, most=64), flat)
    feed.slots(40)
    assert feed.limit.value <= 64
    assert feed.limit.base > 64 / SWING


def test_a_fixed_limit_learns_nothing() -> None:
    limit = FixedLimit(7)
    for _ in range(100):
        limit.left(1.0, 9.0, 7, TIMED_OUT)
    assert limit.value == 7


def crowded(in_flight: int) -> float:
    """Room for four; whoever is beyond them waits."""
    return max(0.005, 0.005 * in_flight / 4)


def test_a_load_that_left_room_tells_a_full_limit_where_to_go() -> None:
    feed, reasons = Feed(KneeLimit(40), crowded), set[str]()
    feed.slots(20, used=0.1)
    for _ in range(12):
        feed.slots(1)
        reasons.add(feed.limit.reason)
    assert feed.limit.base < 20
    assert any("times the answers of" in reason for reason in reasons)


def test_a_load_that_left_room_says_nothing_of_a_model_that_became_slower() -> None:
    feed = Feed(KneeLimit(40), crowded)
    feed.slots(20, used=0.1)
    feed.latency_s = lambda in_flight: 10 * crowded(in_flight)
    reasons = set[str]()
    for _ in range(40):
        feed.slots(1)
        reasons.add(feed.limit.reason)
    assert not any("times the answers of" in reason for reason in reasons)


def test_where_most_requests_time_out_the_limit_shrinks_although_what_is_answered_took_as_long() -> None:
    feed = Feed(KneeLimit(40), lambda _: 0.45)
    feed.slots(30, used=0.5)
    before = feed.limit.base
    for _ in range(10):
        feed.slots(5, outcome=TIMED_OUT, per_slot=4)
        feed.slots(1, per_slot=4)
    assert feed.limit.base < before / 2
