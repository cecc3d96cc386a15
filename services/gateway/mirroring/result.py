"""What the comparison of two answers to one request found."""

from __future__ import annotations

from typing import NamedTuple


class OutputResult(NamedTuple):
    """How one output differs; the terms are those of ``OutputComparison``, and None a measure that does not apply."""

    name: str
    ranked: bool = False
    agree: bool = False
    non_finite: bool = False
    absolute: float | None = None
    relative: float | None = None
    cosine: float | None = None
    divergence: float | None = None
    original_non_finite: bool = False
    copy_non_finite: bool = False
    both_non_finite: bool = False


class PairResult(NamedTuple):
    """How two answers differ; the terms are those of ``PairCounts``.

    Attributes:
        outputs: The outputs that could be compared.
    """

    differing: bool
    mismatched: bool
    ranked: bool
    agree: bool
    outputs: tuple[OutputResult, ...]
