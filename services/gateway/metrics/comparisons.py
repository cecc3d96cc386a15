"""A worker's counts of copies as comparisons of versions: what the controller judges a mirrored version by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from services.core.counts.comparison import Comparison, OutputComparison, PairCounts
from services.core.counts.difference import DifferenceHistogram
from services.gateway.metrics.series import (
    MIRROR,
    MIRROR_DIFFERENCE,
    MIRROR_OUTPUT,
    MIRROR_PAIRS,
    MIRROR_TIME,
    ORIGINAL,
    request_histogram,
)
from services.gateway.metrics.slab import Record, Values
from services.gateway.mirroring.outcome import DROPPED, SKIPPED, Outcome

ComparisonKey = tuple[str, int, int]  # model, the version that answered, the one that got the copy

FAMILIES = frozenset({MIRROR, MIRROR_PAIRS, MIRROR_TIME, MIRROR_OUTPUT, MIRROR_DIFFERENCE})


def comparisons(records: Iterable[Record]) -> dict[ComparisonKey, Comparison]:
    """Add up the series of one slab by model, version that answered and version that got the copy."""
    found: dict[ComparisonKey, _Draft] = {}
    for (family, *labels), values in records:
        if family not in FAMILIES or not labels[1]:
            continue
        model, answered, mirrored, *rest = labels
        key = (model, int(answered), int(mirrored))
        draft = found.setdefault(key, _Draft())
        draft.take(family, rest, values)
    return {key: draft.comparison() for key, draft in found.items()}


class _Draft:
    """The series of one comparison, as they are read one by one."""

    def __init__(self) -> None:
        self._counts = Comparison()
        self._outputs: dict[str, OutputComparison] = {}
        self._slices: dict[str, PairCounts] = {}

    def take(self, family: str, rest: list[str], values: Values) -> None:
        if family == MIRROR:
            self._counts += _ends(Outcome(rest[0]), int(values[0]))
        elif family == MIRROR_PAIRS:
            counts = PairCounts(*values.tolist())
            if rest[0]:
                self._slices[rest[0]] = counts
            else:
                self._counts += Comparison(all=counts)
        elif family == MIRROR_TIME:
            latency = request_histogram(values)
            self._counts += Comparison(original=latency) if rest[0] == ORIGINAL else Comparison(copy=latency)
        elif family == MIRROR_OUTPUT:
            self._add(rest[0], OutputComparison(*values.tolist()))
        else:
            filled = np.flatnonzero(values)
            histogram = DifferenceHistogram(dict(zip(filled.tolist(), values[filled].tolist(), strict=True)))
            of_measure: dict[str, Any] = {rest[1]: histogram}
            self._add(rest[0], OutputComparison(**of_measure))

    def comparison(self) -> Comparison:
        whole = self._counts
        return Comparison(
            whole.all,
            whole.failed,
            whole.dropped,
            whole.skipped,
            whole.original,
            whole.copy,
            self._outputs,
            self._slices,
        )

    def _add(self, output: str, counts: OutputComparison) -> None:
        present = self._outputs.get(output)
        self._outputs[output] = counts if present is None else present + counts


def _ends(outcome: Outcome, count: int) -> Comparison:
    if outcome is Outcome.FAILED:
        return Comparison(failed=count)
    if outcome in DROPPED:
        return Comparison(dropped=count)
    if outcome in SKIPPED:
        return Comparison(skipped=count)
    return Comparison()  # a pair, which is counted with the others
