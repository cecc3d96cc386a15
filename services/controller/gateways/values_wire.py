"""Distributions of values in a worker's report. Pure; what a worker sends is not trusted."""

from __future__ import annotations

from itertools import islice
from typing import Any

from services.core.counts.report_bounds import fits
from services.core.counts.value_histogram import BIN_COUNT, CONFIDENCE, MEAN, ValueHistogram
from services.core.errors import InvalidRequest

MAX_VALUES = 64
_MAX_COUNT = 2**53  # exact in JSON and in a float


def values_from(message: Any) -> dict[str, ValueHistogram]:
    """Return the distributions in a ``Tally`` that are known here, and no more of them than there may be.

    Raises:
        InvalidRequest: They contradict themselves.
    """
    known = (row for row in message.values if _is_known(row.what))
    return {row.what: _histogram(row) for row in islice(known, MAX_VALUES)}


def _is_known(what: str) -> bool:
    kind, _, output = what.partition(":")
    return kind in {CONFIDENCE, MEAN} and fits(output)


def _histogram(row: Any) -> ValueHistogram:
    counts = dict(zip(row.bin, row.count, strict=False))
    if not len(row.bin) == len(row.count) == len(counts) or any(index >= BIN_COUNT for index in counts):
        raise InvalidRequest(
            f"a distribution of values has {len(row.bin)} bins and {len(row.count)} counts; expected as many of one as "
            f"of the other, and indices from 0 to {BIN_COUNT - 1}, each once"
        )
    rows = sum(counts.values())
    if max(rows, row.squares) > _MAX_COUNT:
        raise InvalidRequest(f"a distribution has {rows} rows, {row.squares} by their squares; expected at most 2^53")
    return ValueHistogram({index: count for index, count in counts.items() if count}, row.squares)
