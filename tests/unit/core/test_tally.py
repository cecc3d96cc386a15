"""Counts that add across workers and subtract across time."""

from hypothesis import given
from hypothesis import strategies as st

from services.core.counts.histogram import LatencyHistogram
from services.core.counts.tally import Tally
from services.core.counts.value_histogram import ValueHistogram

counts = st.integers(0, 10_000)
tallies = st.builds(
    Tally,
    requests=counts,
    failed=counts,
    non_finite=counts,
    unanswered=counts,
    latency=st.dictionaries(st.integers(0, 400), st.integers(1, 99), max_size=5).map(LatencyHistogram),
    predictions=st.dictionaries(
        st.sampled_from(["logits", "scores"]), st.lists(counts, min_size=10, max_size=10).map(tuple), max_size=2
    ),
    values=st.dictionaries(
        st.sampled_from(["mean:price", "confidence:scores"]),
        st.builds(ValueHistogram, st.dictionaries(st.integers(0, 3200), st.integers(1, 99), max_size=3), counts),
        max_size=2,
    ),
)


@given(tallies, tallies)
def test_taking_away_the_older_state_leaves_what_was_added(older: Tally, added: Tally) -> None:
    left = (older + added) - older
    assert (left.requests, left.failed, left.non_finite) == (added.requests, added.failed, added.non_finite)
    assert (left.unanswered, left.answers) == (added.unanswered, added.answers)
    assert left.latency.counts == added.latency.counts
    for name, classes in added.predictions.items():
        assert left.predictions[name] == classes
    for what, values in added.values.items():
        assert left.values[what] == values


def test_a_request_that_was_given_up_is_neither_an_answer_nor_bad() -> None:
    tally = Tally(10, 2, 1, LatencyHistogram({300: 8}), unanswered=3)
    assert (tally.answers, tally.bad, tally.latency.total) == (5, 3, 8)


def test_a_class_that_one_worker_never_saw_is_counted_from_the_other() -> None:
    merged = Tally(predictions={"logits": (1, 2)}) + Tally(predictions={"logits": (1, 0, 5)})
    assert merged.predictions == {"logits": (2, 2, 5)}
