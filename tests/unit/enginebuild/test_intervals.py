"""Intervals hold what they promise."""

import math

import numpy as np
import pytest
from enginebuild.measure.intervals import bootstrap, paired_loss_bound, percentile, wilson
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("right", "samples", "low", "high"),
    # Agresti and Coull (1998), "Approximate is better than exact", and Newcombe (1998), table I.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_of_a_share_is_wilsons(right: int, samples: int, low: float, high: float) -> None:
    assert wilson(right, samples, 0.95) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_stays_between_0_and_1(counts: tuple[int, int]) -> None:
    right, samples = counts
    low, high = wilson(right, samples, 0.95)
    assert 0 <= low <= right / samples + 1e-12
    assert right / samples - 1e-12 <= high <= 1


@pytest.mark.parametrize("samples", [10, 450, 100_000])
def test_no_sample_that_changed_sides_still_leaves_room_for_a_loss(samples: int) -> None:
    z = 1.6448536
    assert paired_loss_bound(0, 0, samples, 0.95) == pytest.approx(z * z / (samples + z * z), rel=1e-6)


@given(st.integers(2, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n))))
def test_the_bound_is_above_the_loss_and_grows_with_what_was_lost(counts: tuple[int, int, int]) -> None:
    lost, won, samples = counts
    if lost + won > samples:
        won = samples - lost
    bound = paired_loss_bound(lost, won, samples, 0.95)
    assert (lost - won) / samples - 1e-12 <= bound <= 1
    if lost + won < samples:
        assert paired_loss_bound(lost + 1, won, samples, 0.95) >= bound - 1e-12
    assert paired_loss_bound(lost, won, samples, 0.99) >= bound - 1e-12


@pytest.mark.parametrize(("lost", "won"), [(0.01, 0.002), (0.05, 0.05), (0.002, 0.0005), (0.2, 0.1)])
def test_the_bound_holds_about_as_often_as_it_says(lost: float, won: float) -> None:
    draws = np.random.default_rng(0).multinomial(450, [lost, won, 1 - lost - won], size=2000)
    held = [paired_loss_bound(int(a), int(b), 450, 0.95) >= lost - won for a, b, _ in draws]
    assert np.mean(held) >= 0.93


def test_a_bootstrap_finds_the_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    drawn = bootstrap(lambda chosen: float(values[chosen].mean()), 400, seed=1)
    assert drawn == sorted(drawn)
    assert percentile(drawn, 0.5) == pytest.approx(values.mean(), abs=0.03)
    assert percentile(drawn, 0.975) - percentile(drawn, 0.025) == pytest.approx(2 * 1.96 * 2 / 20, rel=0.15)
    assert drawn == bootstrap(lambda chosen: float(values[chosen].mean()), 400, seed=1)


def test_draws_that_are_no_number_are_left_out() -> None:
    assert bootstrap(lambda _: math.nan, 10, seed=0) == []
    assert math.isnan(percentile([], 0.5))
