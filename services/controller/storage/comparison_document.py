"""Comparisons as JSON documents, and back; and as what a person reads. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from services.core.counts.comparison import Comparison, OutputComparison, PairCounts
from services.core.counts.difference import DifferenceHistogram
from services.core.counts.histogram import LatencyHistogram

_MEASURES = ("absolute", "relative", "cosine", "divergence")
# The last three are absent, and then 0, in what was stored before they were counted.
_COUNTS = (
    "pairs",
    "ranked",
    "agree",
    "non_finite",
    "original_non_finite",
    "copy_non_finite",
    "both_non_finite",
)


def latency_document(histogram: LatencyHistogram) -> dict[str, Any]:
    """Return a latency histogram as parallel lists of bucket indices and counts."""
    buckets = sorted(histogram.counts)
    return {"bucket": buckets, "count": [histogram.counts[index] for index in buckets], "sum_s": histogram.sum_s}


def latency_from(document: dict[str, Any]) -> LatencyHistogram:
    """Return what ``latency_document`` wrote."""
    return LatencyHistogram(dict(zip(document["bucket"], document["count"], strict=True)), document["sum_s"])


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON-able values."""
    return {
        "all": asdict(comparison.all),
        "failed": comparison.failed,
        "dropped": comparison.dropped,
        "skipped": comparison.skipped,
        "original": latency_document(comparison.original),
        "copy": latency_document(comparison.copy),
        "outputs": {name: _output_document(output) for name, output in comparison.outputs.items()},
        "slices": {name: asdict(counts) for name, counts in comparison.slices.items()},
    }


def comparison_from(document: dict[str, Any]) -> Comparison:
    """Return the comparison that ``comparison_document`` wrote."""
    return Comparison(
        **{
            **document,
            "all": PairCounts(**document["all"]),
            "original": latency_from(document["original"]),
            "copy": latency_from(document["copy"]),
            "outputs": {name: _output_from(output) for name, output in document["outputs"].items()},
            "slices": {name: PairCounts(**counts) for name, counts in document["slices"].items()},
        }
    )


def comparison_view(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison with quantiles in place of histograms; latencies in seconds."""
    return {
        "mirrored": comparison.mirrored,
        **asdict(comparison.all),
        "failed": comparison.failed,
        "dropped": comparison.dropped,
        "skipped": comparison.skipped,
        "original": _latency_view(comparison.original),
        "copy": _latency_view(comparison.copy),
        "outputs": {name: _output_view(output) for name, output in comparison.outputs.items()},
        "slices": {name: asdict(counts) for name, counts in comparison.slices.items()},
    }


def _output_document(output: OutputComparison) -> dict[str, Any]:
    counts: dict[str, Any] = _output_counts(output)
    for measure in _MEASURES:
        histogram: DifferenceHistogram = getattr(output, measure)
        buckets = sorted(histogram.counts)
        counts[measure] = {"bucket": buckets, "count": [histogram.counts[index] for index in buckets]}
    return counts


def _output_from(document: dict[str, Any]) -> OutputComparison:
    histograms = {
        measure: DifferenceHistogram(dict(zip(document[measure]["bucket"], document[measure]["count"], strict=True)))
        for measure in _MEASURES
    }
    return OutputComparison(**{**document, **histograms})


def _output_view(output: OutputComparison) -> dict[str, Any]:
    view: dict[str, Any] = _output_counts(output)
    for measure in _MEASURES:
        histogram: DifferenceHistogram = getattr(output, measure)
        view[measure] = {f"p{q}": histogram.quantile(q / 100) for q in (50, 95, 99, 100)}
    return view


def _output_counts(output: OutputComparison) -> dict[str, Any]:
    return {name: getattr(output, name) for name in _COUNTS}


def _latency_view(latency: LatencyHistogram) -> dict[str, float | None]:
    return {f"p{q}_s": latency.quantile(q / 100) for q in (50, 95, 99)}
