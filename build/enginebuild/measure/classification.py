"""Metrics of classes: accuracy, precision, recall, F1 and the area under the ROC curve."""

from __future__ import annotations

import numpy as np

from enginebuild.datatypes import Array
from enginebuild.measure.intervals import Indices
from enginebuild.measure.scorer import Scorer, share


def decisions(scores: Array, threshold: float | None) -> Array:
    """Return a class per sample: the best of [N, C] scores, or with a threshold 1 where a single score is above it."""
    if threshold is not None:
        return np.asarray(scores.reshape(len(scores)) > threshold, dtype=np.int64)
    return np.asarray(scores.argmax(axis=1), dtype=np.int64)


def accuracy(decided: Array, labels: Array) -> Scorer:
    """Return the share of the samples whose class is the label."""
    return share(decided == labels)


def class_share(kind: str, decided: Array, labels: Array, classes: int, positive: int | None) -> Scorer:
    """Return precision, recall or F1 of one class, or their mean over the classes (macro).

    A class that a choice of samples neither has nor decides for says nothing, and is left out of the mean; one of which
    nothing is found counts as 0.
    """

    def value(chosen: Indices) -> float:
        pairs = np.bincount(labels[chosen] * classes + decided[chosen], minlength=classes * classes)
        table = pairs.reshape(classes, classes)
        hit, wanted, said = np.diag(table), table.sum(axis=1), table.sum(axis=0)
        below = {"precision": said, "recall": wanted, "f1": (said + wanted) / 2}[kind]
        by_class = np.divide(hit, below, out=np.zeros(classes), where=below > 0)
        if positive is not None:
            return float(by_class[positive])
        known = (wanted + said) > 0
        return float(by_class[known].mean())

    return Scorer(value)


def auc(scores: Array, labels: Array) -> Scorer:
    """Return the area under the ROC curve: how often a sample of class 1 scores above one of class 0, ties as half.

    It is the Mann-Whitney statistic; NaN for a choice of samples of one class only.
    """

    def value(chosen: Indices) -> float:
        mine, ones = scores[chosen], labels[chosen] == 1
        positives = int(ones.sum())
        negatives = len(mine) - positives
        if not positives or not negatives:
            return float("nan")
        _, group, counts = np.unique(mine, return_inverse=True, return_counts=True)
        ends = np.cumsum(counts)
        ranks = (ends - (counts - 1) / 2)[group]
        return float((ranks[ones].sum() - positives * (positives + 1) / 2) / (positives * negatives))

    return Scorer(value)


def probability_of(scores: Array, positive: int) -> Array:
    """Return a single score per sample: the output itself, or the softmax share of one class of [N, C] scores."""
    flat = scores.reshape(len(scores), -1).astype(np.float64)
    if flat.shape[1] == 1:
        return flat[:, 0]
    shifted = np.exp(flat - flat.max(axis=1, keepdims=True))
    return np.asarray(shifted[:, positive] / shifted.sum(axis=1))
