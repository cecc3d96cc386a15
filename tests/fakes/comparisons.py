"""Comparisons as hypothesis draws them: any counts that a worker could have."""

from __future__ import annotations

from hypothesis import strategies as st

from services.core.counts.comparison import OTHER, Comparison, OutputComparison, PairCounts
from services.core.counts.difference import BUCKET_COUNT, DifferenceHistogram
from services.core.counts.histogram import LatencyHistogram
from services.core.mirror import Mirror

counts = st.integers(0, 10_000)
pairs = st.builds(
    lambda mismatched, differing, agreeing, agree, ranked: PairCounts(
        mismatched + differing + agreeing, mismatched + differing, mismatched, agree + ranked, agree
    ),
    *(counts,) * 5,
)
differences = st.dictionaries(st.integers(0, BUCKET_COUNT - 1), st.integers(1, 99), max_size=4).map(DifferenceHistogram)
latencies = st.dictionaries(st.integers(0, 400), st.integers(1, 99), max_size=4).map(LatencyHistogram)
outputs = st.builds(
    lambda pairs, original, copy, neither, **others: OutputComparison(
        pairs,
        non_finite=original + copy + neither,
        original_non_finite=original,
        copy_non_finite=copy,
        **others,
    ),
    *(counts,) * 4,
    ranked=counts,
    agree=counts,
    both_non_finite=counts,
    absolute=differences,
    relative=differences,
    cosine=differences,
    divergence=differences,
)
comparisons = st.builds(
    Comparison,
    pairs,
    counts,
    counts,
    counts,
    latencies,
    latencies,
    st.dictionaries(st.sampled_from(["scores", "boxes"]), outputs, max_size=2),
    st.dictionaries(st.sampled_from(["tier=a", "tier=b", OTHER]), pairs, max_size=3),
)
percents = st.integers(0, 100)
tolerances = st.floats(0, 10, allow_nan=False)
mirrors = st.builds(
    Mirror, st.integers(1, 9), percents, percents, st.sampled_from(["", "tier"]), tolerances, tolerances
)
