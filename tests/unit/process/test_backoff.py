"""Delays before a restart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.process.backoff import Backoff


def test_delays_double_up_to_the_largest() -> None:
    backoff = Backoff(first_s=0.5, most_s=3.0)
    assert [backoff.next_delay_s(ran_s=1.0, jitter=0.0) for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_healthy_run_starts_over() -> None:
    backoff = Backoff(first_s=0.5, most_s=30.0, healthy_s=60.0)
    for _ in range(4):
        backoff.next_delay_s(ran_s=1.0, jitter=0.0)
    assert backoff.next_delay_s(ran_s=60.0, jitter=0.0) == 0.5
    assert backoff.next_delay_s(ran_s=59.9, jitter=0.0) == 1.0


@given(st.integers(0, 5000), st.floats(0, 1))
def test_a_delay_is_never_above_the_largest_nor_below_half_the_first(failures: int, jitter: float) -> None:
    backoff = Backoff(first_s=0.2, most_s=30.0, failures=failures)
    assert 0.1 <= backoff.next_delay_s(ran_s=0.0, jitter=jitter) <= 30.0
