"""Distributions of values as JSON documents, and back; and as what a person reads. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.core.counts.value_histogram import ValueHistogram


def values_document(values: Mapping[str, ValueHistogram]) -> dict[str, Any]:
    """Return distributions as JSON-able values; each holds parallel lists of bins and counts."""
    return {
        what: {
            "bin": list(histogram.counts),
            "count": list(histogram.counts.values()),
            "squares": histogram.squares,
        }
        for what, histogram in values.items()
    }


def values_from(document: dict[str, Any]) -> dict[str, ValueHistogram]:
    """Return what ``values_document`` wrote."""
    return {
        what: ValueHistogram(dict(zip(row["bin"], row["count"], strict=True)), row["squares"])
        for what, row in document.items()
    }


def values_view(values: Mapping[str, ValueHistogram]) -> dict[str, Any]:
    """Return distributions as quantiles."""
    return {
        what: {"rows": histogram.rows, **{f"p{q}": histogram.quantile(q / 100) for q in (5, 50, 95)}}
        for what, histogram in values.items()
    }


def with_later_tests(document: dict[str, Any], analysis: str) -> dict[str, Any]:
    """Return a document whose analysis says what it asks of scores, and of the share of answers that are not finite.

    That is nothing where it was stored before it could.
    """
    return {**document, analysis: {"max_score_shift": None, "max_non_finite_increase": None, **document[analysis]}}
