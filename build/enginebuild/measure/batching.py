"""How far a row's answer depends on the rows that share its batch: Triton batches what comes together."""

from __future__ import annotations

import numpy as np

from enginebuild.datatypes import Array, Arrays, is_floating
from enginebuild.measure.scorer import Flags
from enginebuild.recipe.recipe import Recipe
from enginebuild.runtime import batch
from enginebuild.targets.target import Model
from services.core.records.batch_record import BatchEntry

# Rows that are also run alone, which is slow; and how often each is in a batch, with other rows each time.
ROWS = 128
BATCHES = 3


def batch_dependence(recipe: Recipe, model: Model, inputs: Arrays) -> BatchEntry:
    """Run the first held-out rows alone and in full batches, and return how far the answers are apart.

    Args:
        recipe: Which outputs have classes, how large a batch is, and the seed that mixes the rows.
        model: A converted network.
        inputs: The held-out inputs.

    Raises:
        BuildFailed: The runtime cannot run it.
    """
    some = batch(inputs, 0, ROWS)
    rows, size = len(next(iter(some.values()))), recipe.serving.max_batch_size
    alone = model.run_all(some, 1)
    generator = np.random.default_rng(recipe.seed)
    orders = [np.arange(rows), *(generator.permutation(rows) for _ in range(BATCHES - 1))]
    apart, changed = dict.fromkeys(alone, 0.0), np.zeros(rows, dtype=np.bool_)
    for order in orders:
        found = model.run_all({name: array[order] for name, array in some.items()}, size)
        together = {name: array[np.argsort(order)] for name, array in found.items()}
        for name, array in together.items():
            apart[name] = max(apart[name], _apart(alone[name], array))
        changed |= _changed(recipe, alone, together)
    return BatchEntry(
        rows=rows,
        batches=len(orders),
        batch_size=size,
        max_abs_diff=apart,
        changed=float(changed.mean()) if recipe.class_outputs else None,
    )


def _apart(alone: Array, together: Array) -> float:
    left, right = alone.astype(np.float64), together.astype(np.float64)
    if is_floating(alone):
        both = np.isfinite(left) & np.isfinite(right)
        left, right = left[both], right[both]
    return float(np.abs(left - right).max(initial=0.0))


def _changed(recipe: Recipe, alone: Arrays, together: Arrays) -> Flags:
    flags = np.zeros(len(next(iter(alone.values()))), dtype=np.bool_)
    for spec in recipe.class_outputs:
        flags |= alone[spec.name].argmax(axis=1) != together[spec.name].argmax(axis=1)
    return flags
