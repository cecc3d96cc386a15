"""Comparisons in a worker's report. Pure; what a worker sends is not trusted."""

from __future__ import annotations

from itertools import islice
from typing import Any

from services.core.counts.comparison import Comparison, OutputComparison, PairCounts
from services.core.counts.difference import BUCKET_COUNT, DifferenceHistogram
from services.core.counts.histogram import LatencyHistogram
from services.core.counts.report_bounds import fits
from services.core.errors import InvalidRequest

MAX_OUTPUTS = 256
MAX_REPORTED_SLICES = 128
_MAX_COUNT = 2**53  # exact in JSON and in a float


def comparison_from(message: Any, original: LatencyHistogram, copy: LatencyHistogram) -> Comparison:
    """Return the comparison in a message, with its latencies, which were checked already.

    Outputs and slices beyond their bounds are left out.

    Raises:
        InvalidRequest: It contradicts itself.
    """
    outputs = (row for row in message.outputs if fits(row.output))
    slices = (row for row in message.slices if fits(row.slice))
    return Comparison(
        _counts(message.all),
        _count(message.failed),
        _count(message.dropped),
        _count(message.skipped),
        original,
        copy,
        {row.output: _output(row) for row in islice(outputs, MAX_OUTPUTS)},
        {row.slice: _counts(row.counts) for row in islice(slices, MAX_REPORTED_SLICES)},
    )


def _output(row: Any) -> OutputComparison:
    on_one_side = row.original_non_finite + row.copy_non_finite
    if on_one_side > row.non_finite:
        raise InvalidRequest(
            f"of {row.non_finite} pairs of an output that are not finite alike {on_one_side} are so on one side alone; "
            "expected no part to be more than its whole"
        )
    return OutputComparison(
        _count(row.pairs),
        _count(row.ranked),
        _count(row.agree),
        _count(row.non_finite),
        _count(row.original_non_finite),
        _count(row.copy_non_finite),
        _count(row.both_non_finite),
        _differences(row.absolute),
        _differences(row.relative),
        _differences(row.cosine),
        _differences(row.divergence),
    )


def _counts(message: Any) -> PairCounts:
    counts = PairCounts(
        _count(message.pairs),
        _count(message.differing),
        _count(message.mismatched),
        _count(message.ranked),
        _count(message.agree),
    )
    if counts.mismatched > counts.differing or counts.differing > counts.pairs or counts.agree > counts.ranked:
        raise InvalidRequest(
            f"of {counts.pairs} pairs {counts.differing} differ, {counts.mismatched} of them by shape, and of "
            f"{counts.ranked} ranked ones {counts.agree} agree; expected no part to be more than its whole"
        )
    return counts


def _count(value: int) -> int:
    if value > _MAX_COUNT:
        raise InvalidRequest(f"a count of a comparison is {value}; expected at most 2^53")
    return value


def _differences(message: Any) -> DifferenceHistogram:
    counts = dict(zip(message.bucket, message.count, strict=False))
    if not len(message.bucket) == len(message.count) == len(counts) or any(index >= BUCKET_COUNT for index in counts):
        raise InvalidRequest(
            f"a histogram of differences has {len(message.bucket)} buckets and {len(message.count)} counts; expected "
            f"as many of one as of the other, and indices from 0 to {BUCKET_COUNT - 1}, each once"
        )
    return DifferenceHistogram({index: _count(count) for index, count in counts.items() if count})
