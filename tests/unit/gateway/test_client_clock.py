"""The clock of clients' timeouts: exact while the process runs, still while it does not."""

from __future__ import annotations

import pytest

from services.gateway.edge.client_clock import ClientClock
from tests.fakes.clock import FakeClock

PERIOD_S = 0.25


def _passed(steps_s: list[float]) -> float:
    time = FakeClock()
    clock = ClientClock(time, PERIOD_S)
    begun = clock.now()
    for step_s in steps_s:
        time.advance(step_s)
        looked = clock.look()
        assert looked == clock.now()
    return looked - begun


def test_time_passes_between_looks_and_not_in_steps() -> None:
    time = FakeClock()
    clock = ClientClock(time, PERIOD_S)
    begun = clock.now()
    time.advance(0.1)
    assert clock.now() - begun == pytest.approx(0.1)


def test_looks_that_are_a_little_late_lose_nothing() -> None:
    assert _passed([0.25, 0.3, 0.49, 0.25]) == pytest.approx(1.29)


def test_a_standstill_counts_as_two_periods() -> None:
    assert _passed([0.25, 30.0, 0.25]) == pytest.approx(1.0)
