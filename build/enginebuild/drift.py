"""The distributions on the held-out data that live traffic is compared with."""

from __future__ import annotations

import numpy as np

from enginebuild.datatypes import Array, Arrays
from enginebuild.recipe.recipe import Recipe
from services.core.records.drift_record import DriftReference, SketchEntry

BINS = 10
MOST_VALUES = 1_000_000
_SEED = 0  # the same data give the same reference


def drift_reference(recipe: Recipe, inputs: Arrays, outputs: Arrays) -> DriftReference:
    """Return the distributions of inputs, outputs and confidence.

    Args:
        recipe: Which outputs have classes.
        inputs: Held-out inputs.
        outputs: What the FP32 PyTorch network says of them.
    """
    return DriftReference(
        inputs={name: sketch(array) for name, array in inputs.items()},
        outputs={name: sketch(array) for name, array in outputs.items()},
        confidence={spec.name: sketch(_confidence(outputs[spec.name])) for spec in recipe.class_outputs},
    )


def sketch(array: Array) -> SketchEntry:
    """Return the distribution of an array's elements, in up to ten bins of about equal shares.

    Of a large array a million elements are drawn. Values that come often, such as the zeros of an image, make fewer
    and unequal bins. What is no number is left out.
    """
    flat = array.ravel()
    if len(flat) > MOST_VALUES:
        # Drawn and not taken in steps, which could fall on one column of every image.
        flat = flat[np.random.default_rng(_SEED).integers(0, len(flat), MOST_VALUES)]
    values = flat.astype(np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return SketchEntry((), (0.0,), 0.0, 0.0, 0)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1], method="inverted_cdf"))
    edges = edges[edges < values.max()]  # nothing would lie above the largest value
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return SketchEntry(
        edges=tuple(float(edge) for edge in edges),
        shares=tuple(float(count / len(values)) for count in counts),
        mean=float(values.mean()),
        deviation=float(values.std()),
        count=len(values),
    )


def _confidence(scores: Array) -> Array:
    shifted = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    largest: Array = (shifted / shifted.sum(axis=1, keepdims=True)).max(axis=1)
    return largest
