"""Histograms that merge, and quantiles that are right."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.counts.histogram import BUCKET_COUNT, LatencyHistogram, bucket_index, upper_bound_s

durations = st.floats(min_value=1e-6, max_value=120, allow_nan=False)


@given(st.floats(min_value=0, max_value=1e6, allow_nan=False))
def test_a_duration_is_in_the_bucket_whose_bounds_enclose_it(seconds: float) -> None:
    index = bucket_index(seconds)
    assert 0 <= index < BUCKET_COUNT
    assert seconds <= upper_bound_s(index) * (1 + 1e-12)
    if index > 0:
        assert seconds > upper_bound_s(index - 1) * (1 - 1e-12)


@given(st.lists(durations, min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_within_a_bucket_of_the_truth_whatever_the_distribution(values: list[float], q: float) -> None:
    histogram = LatencyHistogram()
    for value in values:
        histogram.observe(value)
    truth = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    assert histogram.quantile(q) == pytest.approx(truth, rel=0.0112)


@given(st.lists(durations, max_size=50), st.lists(durations, max_size=50))
def test_merging_is_the_same_as_having_seen_everything_in_one_place(left: list[float], right: list[float]) -> None:
    parts = LatencyHistogram(), LatencyHistogram()
    whole = LatencyHistogram()
    for part, values in zip(parts, (left, right), strict=True):
        for value in values:
            part.observe(value)
            whole.observe(value)
    merged = parts[0] + parts[1]
    assert merged.counts == whole.counts
    assert merged.sum_s == pytest.approx(whole.sum_s)
    assert (merged - parts[0]).counts == parts[1].counts


def test_a_histogram_that_shrank_is_not_an_older_state_of_itself() -> None:
    later, earlier = LatencyHistogram({5: 1}), LatencyHistogram({5: 2})
    with pytest.raises(ValueError, match="shrank"):
        _ = later - earlier


def test_no_observation_has_no_quantile() -> None:
    assert LatencyHistogram().quantile(0.99) is None


def test_coarser_boundaries_count_exactly_what_the_fine_ones_hold() -> None:
    histogram = LatencyHistogram()
    source = random.Random(7)
    values = [source.lognormvariate(-5, 1.5) for _ in range(2000)]
    for value in values:
        histogram.observe(value)
    for bound, count in histogram.cumulative(8):
        assert count == sum(value <= bound * (1 + 1e-12) for value in values)
    with pytest.raises(ValueError, match="divide"):
        histogram.cumulative(5)


def test_durations_beyond_the_range_stay_counted() -> None:
    histogram = LatencyHistogram()
    histogram.observe(0.0)
    histogram.observe(1e9)
    assert histogram.total == 2
    assert histogram.cumulative(1)[-1] == (math.inf, 2)
