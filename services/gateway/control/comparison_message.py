"""A worker's comparisons as messages of its report."""

from __future__ import annotations

from typing import Any

from services.core.counts.comparison import Comparison, PairCounts
from services.core.counts.difference import DifferenceHistogram
from services.core.counts.histogram import LatencyHistogram
from services.gateway.metrics.comparisons import ComparisonKey


def add_comparison(report: Any, key: ComparisonKey, comparison: Comparison) -> None:
    """Add one comparison to a ``StatisticsReport``."""
    model, answered, mirrored = key
    entry = report.comparisons.add(
        model=model,
        answered=answered,
        mirrored=mirrored,
        failed=comparison.failed,
        dropped=comparison.dropped,
        skipped=comparison.skipped,
    )
    _put_counts(entry.all, comparison.all)
    put_latency(entry.original, comparison.original)
    put_latency(entry.copy, comparison.copy)
    for name, output in comparison.outputs.items():
        row = entry.outputs.add(
            output=name,
            pairs=output.pairs,
            ranked=output.ranked,
            agree=output.agree,
            non_finite=output.non_finite,
            original_non_finite=output.original_non_finite,
            copy_non_finite=output.copy_non_finite,
            both_non_finite=output.both_non_finite,
        )
        _put_differences(row.absolute, output.absolute)
        _put_differences(row.relative, output.relative)
        _put_differences(row.cosine, output.cosine)
        _put_differences(row.divergence, output.divergence)
    for name, counts in comparison.slices.items():
        _put_counts(entry.slices.add(slice=name).counts, counts)


def put_latency(message: Any, histogram: LatencyHistogram) -> None:
    """Fill a ``Histogram``."""
    buckets = sorted(histogram.counts.items())
    message.bucket.extend(index for index, _ in buckets)
    message.count.extend(count for _, count in buckets)
    message.sum_s = histogram.sum_s


def _put_counts(message: Any, counts: PairCounts) -> None:
    message.pairs, message.differing, message.mismatched = counts.pairs, counts.differing, counts.mismatched
    message.ranked, message.agree = counts.ranked, counts.agree


def _put_differences(message: Any, histogram: DifferenceHistogram) -> None:
    buckets = sorted(histogram.counts.items())
    message.bucket.extend(index for index, _ in buckets)
    message.count.extend(count for _, count in buckets)
