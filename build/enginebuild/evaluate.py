"""How good a version is on the held-out data, and how close to the FP32 PyTorch network it stays."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from enginebuild.data import Dataset
from enginebuild.datatypes import Array, Arrays, is_floating
from enginebuild.recipe import Recipe
from enginebuild.recipecode import RecipeCode
from services.core.errors import ConfigurationError
from services.core.manifest import AccuracyEntry, FidelityEntry

CONFIDENCE = 0.95

Flags = npt.NDArray[np.bool_]
Judge = Callable[[Arrays, Array], Flags]


def wilson(correct: int, samples: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the Wilson score interval of a share (Wilson, 1927); it holds near 0 and 1, where the normal one fails."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = correct / samples, z * z / samples
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / samples + spread / (4 * samples)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def judge_of(recipe: Recipe, code: RecipeCode) -> Judge:
    """Return what says which samples are right: the recipe's own function, or the best class against the label.

    Raises:
        ConfigurationError: The recipe's function cannot be imported.
    """
    reference = recipe.data.correct
    if reference is None:
        output = recipe.class_outputs[0].name
        return lambda outputs, labels: np.asarray(outputs[output].argmax(axis=1) == labels)
    function = code.function(reference)

    def judge(outputs: Arrays, labels: Array) -> Flags:
        found = np.asarray(function(outputs, labels))
        if found.dtype != np.bool_ or found.shape != (len(labels),):
            raise ConfigurationError(
                f"'{reference}' returns {found.dtype} {list(found.shape)}; expected bool [{len(labels)}]"
            )
        return found

    return judge


def evaluate(
    recipe: Recipe, data: Dataset, judge: Judge, outputs: Arrays, reference: Arrays
) -> tuple[AccuracyEntry, FidelityEntry]:
    """Compare the outputs on the held-out data with the labels and with the FP32 PyTorch network's.

    Args:
        recipe: Which outputs have classes.
        data: The held-out data.
        judge: What says which samples are right.
        outputs: Outputs of the version, one row per sample.
        reference: Outputs of the FP32 PyTorch network.
    """
    right, baseline = _right(data, judge, outputs), _right(data, judge, reference)
    low, high = wilson(right, data.samples)
    accuracy = AccuracyEntry(
        value=right / data.samples,
        low=low,
        high=high,
        confidence=CONFIDENCE,
        correct=right,
        samples=data.samples,
        baseline=baseline / data.samples,
        loss_points=100 * (baseline - right) / data.samples,
    )
    classes = {spec.name: (outputs[spec.name], reference[spec.name]) for spec in recipe.class_outputs}
    same = [mine.argmax(axis=1) == theirs.argmax(axis=1) for mine, theirs in classes.values()]
    fidelity = FidelityEntry(
        agreement=float(np.logical_and.reduce(same).mean()) if same else None,
        max_abs_diff={name: _max_abs_diff(outputs[name], reference[name]) for name in outputs},
        non_finite=int((~_finite_rows(outputs, data.samples)).sum()),
        predictions={
            name: tuple(int(n) for n in np.bincount(mine.argmax(axis=1), minlength=mine.shape[1]))
            for name, (mine, _) in classes.items()
        },
    )
    return accuracy, fidelity


def _right(data: Dataset, judge: Judge, outputs: Arrays) -> int:
    """Count the samples that are right; one with a NaN or an infinity never is."""
    if data.labels is None:
        raise ConfigurationError(f"'{data.source}' has no labels to judge by")
    return int((judge(outputs, data.labels) & _finite_rows(outputs, data.samples)).sum())


def _finite_rows(outputs: Arrays, samples: int) -> Flags:
    finite = np.ones(samples, dtype=np.bool_)
    for array in outputs.values():
        if is_floating(array):
            finite &= np.isfinite(array).reshape(samples, -1).all(axis=1)
    return finite


def _max_abs_diff(mine: Array, theirs: Array) -> float:
    left, right = mine.astype(np.float64), theirs.astype(np.float64)
    both = np.isfinite(left) & np.isfinite(right)
    return float(np.abs(left[both] - right[both]).max(initial=0.0))
