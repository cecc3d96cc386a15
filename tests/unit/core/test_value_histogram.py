"""Bins of values that suit any scale, and counts in them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.counts.value_histogram import BIN_COUNT, ZERO_BIN, ValueHistogram, bin_of, middle_of

FINITE = st.floats(allow_nan=False, allow_infinity=False)
histograms = st.builds(
    ValueHistogram, st.dictionaries(st.integers(0, BIN_COUNT - 1), st.integers(1, 99), max_size=5), st.integers(0, 999)
)


@given(FINITE, FINITE)
def test_the_order_of_bins_is_that_of_the_values(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= bin_of(low) <= bin_of(high) < BIN_COUNT


@given(st.floats(2.0**-20, 2.0**30, exclude_max=True), st.sampled_from([1.0, -1.0]))
def test_a_bin_is_three_percent_of_its_values_wide_at_most(size: float, sign: float) -> None:
    middle = middle_of(bin_of(sign * size))
    assert abs(middle - sign * size) <= size / 64
    assert bin_of(middle) == bin_of(sign * size)


@given(FINITE)
def test_both_sides_of_zero_are_alike(value: float) -> None:
    assert bin_of(value) + bin_of(-value) == 2 * ZERO_BIN


def test_confidences_near_one_are_in_bins_of_a_sixty_fourth() -> None:
    assert [bin_of(0.5 + part / 64 + 0.001) - bin_of(0.5) for part in range(32)] == list(range(32))
    assert bin_of(1.0) == bin_of(0.999) + 1


def test_what_is_beyond_the_scale_is_in_the_outermost_bins() -> None:
    assert [bin_of(value) for value in (1e300, 2.0**30, -1e300, 1e-7, -1e-7, 0.0, -0.0)] == [
        *(BIN_COUNT - 1,) * 2,
        0,
        *(ZERO_BIN,) * 4,
    ]


@given(histograms, histograms)
def test_taking_away_the_older_state_leaves_what_was_added(older: ValueHistogram, added: ValueHistogram) -> None:
    later = older + added
    assert later - older == added
    assert later.grew_from(older)
    assert later.rows == older.rows + added.rows
    assert older.grew_from(later) == (not added.counts and not added.squares)


def test_a_quantile_is_the_middle_of_its_bin() -> None:
    values = [0.001 * number for number in range(1, 1001)]
    counts: dict[int, int] = {}
    for value in values:
        counts[bin_of(value)] = counts.get(bin_of(value), 0) + 1
    histogram = ValueHistogram(counts, 1000)
    for q in (0.05, 0.5, 0.95):
        assert histogram.quantile(q) == pytest.approx(q, rel=1 / 32)
    assert ValueHistogram().quantile(0.5) is None
    assert math.isclose(ValueHistogram({ZERO_BIN: 3}, 3).quantile(0.5) or 0.0, 0.0)
