"""Metrics of numbers: errors against what is right, closeness to another version, distance of distributions."""

from __future__ import annotations

import numpy as np

from enginebuild.datatypes import Array
from enginebuild.measure.intervals import Indices
from enginebuild.measure.scorer import Scorer, Values, mean, root_mean

_PROJECTIONS = 64
_PROJECTION_SEED = 0  # the same directions for every version: a difference is the versions', not the directions'


def rows(array: Array) -> Values:
    """Return [N, ...] as [N, M] of doubles."""
    return np.asarray(array.reshape(len(array), -1), dtype=np.float64)


def absolute_error(found: Array, wanted: Array) -> Scorer:
    """Return the mean absolute error."""
    return mean(np.abs(rows(found) - rows(wanted)).mean(axis=1))


def squared_error(found: Array, wanted: Array) -> Scorer:
    """Return the mean square error."""
    return mean(np.square(rows(found) - rows(wanted)).mean(axis=1))


def root_squared_error(found: Array, wanted: Array) -> Scorer:
    """Return the root mean square error."""
    return root_mean(np.square(rows(found) - rows(wanted)).mean(axis=1))


def percentage_error(found: Array, wanted: Array) -> Scorer:
    """Return the mean absolute error in percent of what is right; a right value of 0 has none and is left out."""
    right = rows(wanted)
    known = right != 0
    relative = np.abs(rows(found) - right) / np.where(known, np.abs(right), 1)
    counts = known.sum(axis=1)
    total: Values = (relative * known).sum(axis=1)
    each: Values = np.where(counts > 0, 100 * total / np.maximum(counts, 1), np.nan)

    def value(chosen: Indices) -> float:
        picked = each[chosen]
        picked = picked[~np.isnan(picked)]
        return float(picked.mean()) if len(picked) else float("nan")

    return Scorer(value, values=each)


def cosine(found: Array, reference: Array) -> Scorer:
    """Return the mean cosine of the angle between the outputs of two versions; two zero vectors agree."""
    mine, theirs = rows(found), rows(reference)
    lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
    same = (mine == theirs).all(axis=1)
    each = np.divide((mine * theirs).sum(axis=1), lengths, out=same.astype(np.float64), where=lengths > 0)
    return mean(each)


def sliced_wasserstein(found: Array, real: Array) -> Scorer:
    """Return the sliced Wasserstein-1 distance of two clouds of equally many samples (Rabin et al., 2011).

    The clouds are projected on 64 fixed directions; on a line the distance is the mean gap between the sorted values.
    It is in the unit of the outputs' elements.
    """
    mine, theirs = rows(found), rows(real)
    directions = np.random.default_rng(_PROJECTION_SEED).standard_normal((mine.shape[1], _PROJECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    left, right = mine @ directions, theirs @ directions

    def value(chosen: Indices) -> float:
        return float(np.abs(np.sort(left[chosen], axis=0) - np.sort(right[chosen], axis=0)).mean())

    return Scorer(value)
