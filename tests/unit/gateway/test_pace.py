"""How fast a version gives places back: Little's law in calm, departures in a rush, silence in a stall."""

import math

import pytest

from services.gateway.admission.pace import Pace

LATENCY_S = 0.1


def known(latency_s: float = LATENCY_S, at: float = 0.0) -> Pace:
    pace = Pace(stall_s=1.0)
    pace.answered(latency_s)
    pace.leave(at)
    return pace


def test_while_nothing_was_answered_nothing_is_promised_or_refused() -> None:
    pace = Pace(stall_s=1.0)
    pace.wake(0.0)
    assert math.isinf(pace.rate_per_s(5.0, 8))
    assert pace.ample_s(5.0, 8) == 0.0


def test_in_calm_it_is_littles_law() -> None:
    assert known().rate_per_s(0.05, 8) == pytest.approx(80)
    assert known().rate_per_s(0.05, 0) == pytest.approx(10), "an idle place counts as one"


def test_in_a_rush_departures_correct_a_latency_of_calmer_times() -> None:
    pace, now = known(), 0.0
    pace.full(now)
    assert pace.rate_per_s(now, 8) == pytest.approx(80)
    promised = 80.0
    for number in range(1, 40):
        now = number * 0.05  # twenty leave per second, whatever Little's law says
        pace.leave(now)
        found = pace.rate_per_s(now, 8)
        assert 20 <= found < promised
        promised = found + 1e-9 if number < 10 else 30.0
    assert pace.rate_per_s(now, 8) == pytest.approx(20, rel=0.2)


def test_what_was_counted_long_ago_counts_for_less() -> None:
    pace, now = known(), 0.0
    pace.full(now)
    for _ in range(50):
        pace.leave(now := now + 0.02)
    for _ in range(20):
        pace.leave(now := now + 0.2)  # ten times slower
    assert pace.rate_per_s(now, 8) < 10


def test_a_request_takes_as_long_as_all_that_are_in_flight() -> None:
    pace, now = known(), 0.0
    assert pace.ample_s(now, 8) == pytest.approx(LATENCY_S)
    pace.full(now)
    for number in range(1, 20):
        pace.leave(now := number * 0.05)
    assert pace.ample_s(now, 8) > 2 * LATENCY_S


def test_unlucky_answers_make_the_promise_more_careful() -> None:
    pace = known()
    for number in range(50):
        pace.answered(LATENCY_S * (2 if number & 1 else 1))
    assert pace.ample_s(0.0, 1) > 1.5 * pace.latency_s


def test_silence_counts_as_slowness_only_after_a_replica_would_have_been_given_up() -> None:
    pace = known()
    pace.full(0.0)
    assert pace.rate_per_s(0.9, 8) == pytest.approx(80)
    assert pace.rate_per_s(2.0, 8) == pytest.approx(4)
