"""How good a variant is on the held-out data, and how close to the FP32 PyTorch network it stays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from enginebuild.datatypes import Array, Arrays, is_floating
from enginebuild.measure.intervals import bootstrap, paired_loss_bound, percentile, wilson
from enginebuild.measure.metric import Metric
from enginebuild.measure.scorer import Flags, Scorer
from enginebuild.recipe.recipe import Recipe
from services.core.errors import BuildFailed
from services.core.records.manifest import FidelityEntry, MetricEntry, WorstCase

CONFIDENCE = 0.95
_WORST = 5


def evaluate(
    metrics: Sequence[Metric], outputs: Arrays, reference: Arrays, seed: int, confidence: float = CONFIDENCE
) -> tuple[MetricEntry, ...]:
    """Measure outputs on the held-out data, beside those of the FP32 PyTorch network.

    Samples whose output holds a NaN or an infinity count as wrong where a metric is a share, and are left out of the
    others; ``fidelity`` counts them, and the gate refuses whatever has some.

    Args:
        metrics: What to measure.
        outputs: Outputs of the variant, one row per sample.
        reference: Outputs of the FP32 PyTorch network.
        seed: Of the resampling.
        confidence: Coverage of the two-sided interval of the value and of the one-sided bound on the loss.

    Raises:
        BuildFailed: No sample has an output that can be measured.
    """
    finite = finite_rows(outputs)
    if not finite.any():
        raise BuildFailed(f"every one of {len(finite)} held-out samples gives a NaN or an infinity")
    found = []
    for metric in metrics:
        mine, theirs = metric.scorer(outputs, reference), metric.scorer(reference, reference)
        if mine.flags is not None and theirs.flags is not None:
            found.append(_share(metric, mine.flags & finite, theirs.flags, confidence))
        else:
            found.append(_statistic(metric, (mine, theirs), np.flatnonzero(finite), seed, confidence))
    return tuple(found)


def _share(metric: Metric, mine: Flags, theirs: Flags, confidence: float) -> MetricEntry:
    samples = len(mine)
    # Flags are of what is good, or with a custom metric where less is better, of what is bad.
    lost = int((theirs & ~mine).sum() if metric.better == "higher" else (mine & ~theirs).sum())
    won = int((mine & ~theirs).sum() if metric.better == "higher" else (theirs & ~mine).sum())
    low, high = wilson(int(mine.sum()), samples, confidence)
    return MetricEntry(
        name=metric.name,
        kind=metric.kind,
        output=metric.output,
        better=metric.better,
        percent=True,
        value=float(mine.mean()),
        low=low,
        high=high,
        confidence=confidence,
        method="wilson, tango",
        baseline=float(theirs.mean()),
        loss=(lost - won) / samples,
        loss_high=paired_loss_bound(lost, won, samples, confidence),
        samples=samples,
    )


def _statistic(
    metric: Metric, scorers: tuple[Scorer, Scorer], known: Array, seed: int, confidence: float
) -> MetricEntry:
    mine, theirs = scorers
    value, baseline = mine.value(known), theirs.value(known)
    if not math.isfinite(value) or not math.isfinite(baseline):
        raise BuildFailed(f"metric {metric.name} is {value:g} on {len(known)} held-out samples, {baseline:g} in FP32")
    values = bootstrap(lambda drawn: mine.value(known[drawn]), len(known), seed)
    # The same draws for both: what a sample has hard for one it has hard for the other.
    losses = bootstrap(
        lambda drawn: metric.worse_by(theirs.value(known[drawn]), mine.value(known[drawn])), len(known), seed
    )
    tail = (1 - confidence) / 2
    loss = metric.worse_by(baseline, value)
    return MetricEntry(
        name=metric.name,
        kind=metric.kind,
        output=metric.output,
        better=metric.better,
        percent=metric.percent,
        value=value,
        low=min(value, percentile(values, tail)),
        high=max(value, percentile(values, 1 - tail)),
        confidence=confidence,
        method="bootstrap",
        baseline=baseline,
        loss=loss,
        loss_high=max(loss, percentile(losses, confidence)),
        samples=len(known),
    )


def fidelity(recipe: Recipe, outputs: Arrays, reference: Arrays) -> FidelityEntry:
    """Compare outputs with those of the FP32 PyTorch network, element by element."""
    finite = finite_rows(outputs)
    classes = {spec.name: (outputs[spec.name], reference[spec.name]) for spec in recipe.class_outputs}
    same = [mine.argmax(axis=1) == theirs.argmax(axis=1) for mine, theirs in classes.values()]
    return FidelityEntry(
        agreement=float(np.logical_and.reduce(same).mean()) if same else None,
        max_abs_diff={name: _max_abs_diff(outputs[name], reference[name]) for name in outputs},
        non_finite=int((~finite).sum()),
        predictions={
            name: tuple(int(n) for n in np.bincount(mine.argmax(axis=1), minlength=mine.shape[1]))
            for name, (mine, _) in classes.items()
        },
        worst=_worst(outputs, reference),
    )


def finite_rows(outputs: Arrays) -> Flags:
    """Return which samples have no NaN and no infinity in any output."""
    samples = len(next(iter(outputs.values())))
    finite = np.ones(samples, dtype=np.bool_)
    for array in outputs.values():
        if is_floating(array):
            finite &= np.isfinite(array).reshape(samples, -1).all(axis=1)
    return finite


def _worst(outputs: Arrays, reference: Arrays) -> tuple[WorstCase, ...]:
    """Return the samples whose outputs are furthest from FP32 PyTorch's, relative to the spread of each output."""
    samples = len(next(iter(outputs.values())))
    furthest = np.zeros(samples)
    for name, array in outputs.items():
        mine, theirs = (each.reshape(samples, -1).astype(np.float64) for each in (array, reference[name]))
        scale = max(float(np.nanmax(np.abs(theirs), initial=0.0)), 1e-12)
        apart = np.where(np.isfinite(mine), np.abs(mine - theirs), np.inf).max(axis=1, initial=0.0)
        furthest = np.maximum(furthest, apart / scale)
    order = np.argsort(-furthest, kind="stable")[:_WORST]
    return tuple(WorstCase(int(i), float(furthest[i]) if np.isfinite(furthest[i]) else None) for i in order)


def _max_abs_diff(mine: Array, theirs: Array) -> float:
    left, right = mine.astype(np.float64), theirs.astype(np.float64)
    both = np.isfinite(left) & np.isfinite(right)
    return float(np.abs(left[both] - right[both]).max(initial=0.0))
