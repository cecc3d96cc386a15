"""What admission promises under ten times the load, in virtual time (``tests/fakes/overload_simulation.py``).

The bounds are those of ``loadtest/overload/judgement.py``, where real processes are measured; here seeds are many.
"""

import statistics
from collections.abc import Sequence
from functools import cache

import pytest

from tests.fakes.overload_simulation import MODELS, Batches, Front, Load, Phase, simulate

SECONDS = 12.0
NAMES = ("batches of 4", "batches of 4, one worker", "batches of 4, four workers", "no batches", "slow batches of 16")


@cache
def runs(name: str, times: float = 10.0) -> Sequence[tuple[Phase, Phase, Phase]]:
    """Calm, overload and calm again, for several seeds."""
    front = MODELS[name]
    capacity = front.batches.capacity
    calm, high = Load(0.8 * capacity, SECONDS), Load(times * capacity, SECONDS)
    found = []
    for seed in range(4):
        _, before, over, after = simulate(front, [Load(calm.per_s, 3.0), calm, high, calm], seed=seed)
        found.append((before, over, after))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_under_ten_times_the_load_answers_keep_coming_and_their_p99_is_kept(name: str) -> None:
    capacity = MODELS[name].batches.capacity
    for before, over, _ in runs(name):
        assert len(over.answered_s) >= 0.85 * capacity * SECONDS
        assert over.quantile_s(0.99) <= 2.6 * before.quantile_s(0.99)
    assert sum(over.late for _, over, _ in runs(name)) <= 0.001 * sum(over.offered for _, over, _ in runs(name))
    ratios = [over.quantile_s(0.99) / before.quantile_s(0.99) for before, over, _ in runs(name)]
    assert statistics.median(ratios) <= 2.25


@pytest.mark.parametrize("name", NAMES)
def test_a_load_that_can_be_carried_is_hardly_ever_refused_before_or_after(name: str) -> None:
    assert statistics.fmean(before.refused_share for before, _, _ in runs(name)) <= 0.005
    assert statistics.fmean(after.refused_share for _, _, after in runs(name)) <= 0.03


def test_who_is_refused_under_overload_is_refused_at_once() -> None:
    for _, over, _ in runs("batches of 4"):
        waited = sum(refused_s > 0.010 for refused_s in over.refused_s)
        assert waited <= 0.01 * len(over.refused_s)


def test_a_little_overload_refuses_about_as_much_as_has_to_be() -> None:
    for _, over, _ in runs("batches of 4", times=1.2):
        assert 0.1 <= over.refused_share <= 0.25
        assert len(over.answered_s) >= 0.93 * MODELS["batches of 4"].batches.capacity * SECONDS


def test_a_single_burst_is_worked_off_and_not_refused() -> None:
    front = Front(Batches(), workers=1, deadline_s=30.0)
    quiet = Load(10.0, 5.0)
    _, burst, _ = simulate(front, [quiet, Load(14_000.0, 0.005), quiet], seed=2)
    assert 60 < burst.offered < 76, "64 may wait, and some are in flight"
    assert not burst.refused_s
    assert not burst.late
