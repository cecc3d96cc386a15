"""Counts of pairs that add across workers and subtract across time, within bounds."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from services.core.counts.comparison import MAX_SLICES, OTHER, Comparison, PairCounts
from services.core.counts.difference import BUCKET_COUNT, DifferenceHistogram, bucket_of, upper_bound
from tests.fakes.comparisons import comparisons, pairs

many_slices = st.builds(
    Comparison, slices=st.dictionaries(st.integers(0, 60).map(lambda n: f"tier={n}"), pairs, max_size=40)
)


def without_nothing(comparison: Comparison) -> Comparison:
    """Return a comparison without parts of which nothing was counted."""
    return comparison - Comparison()


@given(comparisons, comparisons)
def test_taking_away_the_older_state_leaves_what_was_added(older: Comparison, added: Comparison) -> None:
    assert (older + added) - older == without_nothing(added)


@given(comparisons, comparisons)
def test_what_was_added_to_has_grown_and_what_was_taken_from_has_not(older: Comparison, added: Comparison) -> None:
    later = older + added
    assert later.grew_from(older)
    assert older.grew_from(later) == (without_nothing(added) == Comparison())


@given(comparisons, comparisons, comparisons)
def test_the_order_of_workers_does_not_matter(a: Comparison, b: Comparison, c: Comparison) -> None:
    assert without_nothing((a + b) + c) == without_nothing(a + (c + b))


@given(many_slices, many_slices)
def test_slices_stay_bounded_keep_their_names_and_lose_no_pair(one: Comparison, other: Comparison) -> None:
    first = Comparison().absorbing(one)
    total = first.absorbing(other)
    assert len(total.slices.keys() - {OTHER}) <= MAX_SLICES
    assert total.slices.keys() >= first.slices.keys()
    everything = sum((*one.slices.values(), *other.slices.values()), PairCounts())
    assert sum(total.slices.values(), PairCounts()) == everything


def test_of_too_many_new_slices_the_largest_have_a_place() -> None:
    slices = {f"tier={n}": PairCounts(pairs=n) for n in range(MAX_SLICES + 10)}
    total = Comparison().absorbing(Comparison(slices=slices))
    assert total.slices.keys() == {f"tier={n}" for n in range(10, MAX_SLICES + 10)} | {OTHER}
    assert total.slices[OTHER].pairs == sum(range(10))


@given(st.floats(min_value=0.0, allow_nan=False))
def test_a_difference_is_in_the_smallest_bucket_that_holds_it(difference: float) -> None:
    index = bucket_of(difference)
    assert 0 <= index < BUCKET_COUNT
    assert difference <= upper_bound(index) * (1 + 1e-12)
    if index:
        assert difference > upper_bound(index - 1) * (1 - 1e-12) or difference > upper_bound(BUCKET_COUNT - 2)


def test_quantiles_of_differences_are_at_most_a_fifth_too_high_and_nothing_has_none() -> None:
    values = [0.0, 0.0, 1e-6, 0.001, 5.0]
    histogram = DifferenceHistogram()
    for value in values:
        histogram += DifferenceHistogram({bucket_of(value): 1})
    assert histogram.quantile(0.4) == 0.0
    for q, value in ((0.6, 1e-6), (0.8, 0.001), (1.0, 5.0)):
        found = histogram.quantile(q)
        assert found is not None
        assert value <= found * (1 + 1e-9)
        assert found <= 1.19 * value
    assert DifferenceHistogram().quantile(0.5) is None
    assert DifferenceHistogram({bucket_of(math.inf): 1}).quantile(1.0) == math.inf
