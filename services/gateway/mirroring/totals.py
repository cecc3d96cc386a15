"""The differences of one output, added up over its slices. Pure; the formulas are those of ``OutputComparison``."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from services.core.mirror import Mirror
from services.core.tensor import BF16_EXPONENT
from services.gateway.mirroring.result import OutputResult

Array = npt.NDArray[Any]

INTEGERS: Final[dict[str, npt.DTypeLike]] = {
    "BOOL": "<u1",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
}
# How elements are stored; BF16 is the upper half of an FP32, which NumPy does not know.
STORED: Final[dict[str, npt.DTypeLike]] = {**INTEGERS, "FP16": "<f2", "BF16": "<u2", "FP32": "<f4", "FP64": "<f8"}
_SUM_TOLERANCE = 1e-3
# Bits that are all set where a value is not finite; of FP16 they are looked at because NumPy converts each to ask it.
_EXPONENTS: Final = {"BF16": BF16_EXPONENT, "FP16": 0x7C00}


class Ranking(NamedTuple):
    """Whether the rows of an output rank classes.

    Attributes:
        ranked: They do.
        labelled: The model says so.
    """

    ranked: bool
    labelled: bool


class Totals:
    """What was found so far.

    Args:
        datatype: Of the output.
        ranking: Whether its rows rank classes.
        mirror: The tolerances.
    """

    def __init__(self, datatype: str, ranking: Ranking, mirror: Mirror) -> None:
        self.ranking = ranking
        self._datatype = datatype
        self._exact = datatype in INTEGERS
        self._mirror = mirror
        self._agree = True
        self._beyond = False
        # Values that are not finite: on the original's side, on the copy's, and the same ones on both.
        self._odd_original = self._odd_copy = self._alike = False
        self._absolute = self._largest = self._cosine = self._divergence = 0.0
        self._sums = np.zeros(3)  # of the row in pieces: |a|^2, |b|^2, |a - b|^2

    def add_rows(self, left: Array, right: Array) -> None:
        """Compare whole rows."""
        a, b = self._elements(left), self._elements(right)
        if self.ranking.ranked and a.size:
            self._agree &= bool((a.argmax(axis=1) == b.argmax(axis=1)).all())
        a, b = self._compared(left, right, a, b)
        if a.size and not self._exact:
            self._cosine = max(self._cosine, _cosine_distance(a, b))
            if self.ranking.labelled:
                self._divergence = max(self._divergence, _divergence(a, b))

    def look_at(self, left: Array, right: Array) -> None:
        """Note what is not finite in two pieces, and compare nothing else of them."""
        if are_finite(left, self._datatype) and are_finite(right, self._datatype):
            return
        a, b = self._readable(left), self._readable(right)
        with np.errstate(invalid="ignore"):  # of a signalling NaN
            self._note_not_finite(a, b, np.isfinite(a), np.isfinite(b))

    def add_piece(self, left: Array, right: Array) -> None:
        """Compare a piece of one row; ``end_row`` follows its last."""
        a, b = self._compared(left, right, self._elements(left), self._elements(right))
        with np.errstate(over="ignore"):
            self._sums += ((a**2).sum(), (b**2).sum(), ((a - b) ** 2).sum())

    def end_row(self) -> None:
        """Finish a row that was compared in pieces."""
        (left_2, right_2, difference_2), self._sums = self._sums.tolist(), np.zeros(3)
        left, right = math.sqrt(left_2), math.sqrt(right_2)
        if left == 0.0 or right == 0.0:
            distance = float(left != right)
        else:  # the law of cosines: what is small is not lost in it, unlike in 1 - cos
            distance = (difference_2 - (left - right) ** 2) / (2.0 * left * right)
        if math.isfinite(distance):  # squares of elements beyond 1e150 have no sum
            self._cosine = min(2.0, max(self._cosine, distance))

    def result(self, name: str) -> tuple[OutputResult, bool]:
        """Return how the output differs, and whether it counts as different."""
        ranked = self.ranking.labelled if self._exact else self.ranking.ranked
        agree = ranked and self._agree
        non_finite = self._odd_original or self._odd_copy
        found = OutputResult(
            name,
            ranked,
            agree,
            non_finite,
            self._absolute,
            min(2.0, self._absolute / self._largest) if self._largest else 0.0,
            None if self._exact else self._cosine,
            self._divergence if self.ranking.labelled and not self._exact else None,
            non_finite and not self._odd_copy,
            non_finite and not self._odd_original,
            self._alike and not non_finite,
        )
        by_class = self.ranking.labelled and not self._mirror.scores
        return found, non_finite or (self.ranking.labelled and not agree) or (self._beyond and not by_class)

    def _elements(self, stored: Array) -> Array:
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
            elements: Array = self._readable(stored).astype(np.float64)
        return elements

    def _readable(self, stored: Array) -> Array:
        return (stored.astype("<u4") << 16).view("<f4") if self._datatype == "BF16" else stored

    def _compared(self, left: Array, right: Array, a: Array, b: Array) -> tuple[Array, Array]:
        """Note the differences of elements, and return both sides without what is not finite."""
        if not a.size:
            return a, b
        finite_a, finite_b = np.isfinite(a), np.isfinite(b)
        finite = finite_a & finite_b
        if not finite.all():
            self._note_not_finite(a, b, finite_a, finite_b)
            a, b = np.where(finite, a, 0.0), np.where(finite, b, 0.0)
        mirror = self._mirror
        with np.errstate(over="ignore"):
            difference = np.abs(a - b)
            magnitude = np.maximum(np.abs(a), np.abs(b))
            if self._exact:
                self._beyond |= bool((left != right).any())
            else:
                tolerance = mirror.absolute_tolerance + mirror.relative_tolerance * magnitude
                self._beyond |= bool((difference > tolerance).any())
        self._absolute = max(self._absolute, float(difference.max()))
        self._largest = max(self._largest, float(magnitude.max()))
        return a, b

    def _note_not_finite(self, a: Array, b: Array, finite_a: Array, finite_b: Array) -> None:
        # The same infinity and any NaN are the same; what is finite on one side alone is not.
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        self._alike |= bool((same & ~(finite_a & finite_b)).any())
        self._odd_original |= bool((~finite_a & ~same).any())
        self._odd_copy |= bool((~finite_b & ~same).any())


def are_finite(stored: Array, datatype: str) -> bool:
    """Whether elements as they are stored have no NaN and no infinity among them."""
    exponent = _EXPONENTS.get(datatype)
    finite = np.isfinite(stored) if exponent is None else (stored.view("<u2") & exponent) != exponent
    return bool(finite.all())


def _cosine_distance(a: Array, b: Array) -> float:
    """Return the cosine distance of the worst row.

    Half the squared distance of the unit vectors is the same as ``1 - cos``, and does not lose what is small.
    """
    left, left_is_zero = _unit(a)
    right, right_is_zero = _unit(b)
    distances = ((left - right) ** 2).sum(axis=1) / 2
    distances[left_is_zero & right_is_zero] = 0.0
    distances[left_is_zero != right_is_zero] = 1.0
    return float(distances.max())


def _unit(rows: Array) -> tuple[Array, Array]:
    """Return the rows at length 1, and which of them are all 0."""
    largest = np.abs(rows).max(axis=1, keepdims=True)
    is_zero = largest[:, 0] == 0.0
    scaled = rows / np.where(largest == 0.0, 1.0, largest)  # squares of huge or tiny elements must not overflow
    length = np.sqrt((scaled**2).sum(axis=1, keepdims=True))
    return scaled / np.where(length == 0.0, 1.0, length), is_zero


def _divergence(a: Array, b: Array) -> float:
    if not (_are_distributions(a) and _are_distributions(b)):
        a, b = _softmax(a), _softmax(b)
    return min(1.0, float(np.abs(a - b).sum(axis=1).max() / 2))


def _are_distributions(rows: Array) -> bool:
    with np.errstate(over="ignore"):
        return bool((rows >= 0).all() and (np.abs(rows.sum(axis=1) - 1.0) <= _SUM_TOLERANCE).all())


def _softmax(rows: Array) -> Array:
    with np.errstate(over="ignore"):
        powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    distributions: Array = powers / powers.sum(axis=1, keepdims=True)
    return distributions
