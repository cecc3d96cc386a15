"""The data that a recipe brings: held-out samples to judge by, and training samples to calibrate with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from enginebuild.datatypes import Array, Arrays, datatype_of, is_floating
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.tensors import LABELS_KEY, Input
from enginebuild.recipecode import RecipeCode
from services.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Dataset:
    """Arrays whose first dimension counts the samples.

    Attributes:
        source: The recipe's function that gave it.
        inputs: By input name, in the recipe's order.
        labels: What is right for each sample; None where nothing is judged by it.
    """

    source: str
    inputs: Arrays
    labels: Array | None = None

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(next(iter(self.inputs.values())))

    @property
    def sha256(self) -> str:
        """Digest over names, types, shapes and values."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @property
    def arrays(self) -> Arrays:
        """Inputs and labels under the names they have in ``evaluation.npz``."""
        return self.inputs if self.labels is None else {**self.inputs, LABELS_KEY: self.labels}

    def save(self, path: Path) -> None:
        """Write ``evaluation.npz``: every input under its own name, and the labels under ``labels``."""
        np.savez(path, **self.arrays)


def load_evaluation(recipe: Recipe, code: RecipeCode) -> Dataset:
    """Return the held-out data.

    Raises:
        ConfigurationError: The function fails, or what it returns does not fit the recipe's inputs.
    """
    source = recipe.data.evaluation
    found = code.function(source)()
    if not isinstance(found, tuple) or len(found) != 2:  # noqa: PLR2004 - a pair
        raise ConfigurationError(f"'{source}' returns a {type(found).__name__}, expected (inputs by name, labels)")
    inputs = _inputs(source, found[0], recipe)
    if found[1] is None:
        if recipe.needs_labels:
            raise ConfigurationError(f"'{source}' gives no labels (None), and a metric of the recipe needs them")
        return Dataset(source, inputs)
    labels = np.asarray(found[1])
    samples = len(next(iter(inputs.values())))
    if labels.ndim == 0 or len(labels) != samples or labels.dtype.hasobject:
        raise ConfigurationError(
            f"'{source}': labels are {labels.dtype} {list(labels.shape)}, expected one for each of {samples} samples"
        )
    return Dataset(source, inputs, labels)


def load_calibration(recipe: Recipe, code: RecipeCode) -> Dataset:
    """Return the samples that INT8 ranges are taken from: as many of them as the recipe says, from the first on.

    Raises:
        ConfigurationError: The recipe names none, the function fails, or what it returns does not fit.
    """
    source = recipe.data.calibration
    if source is None:
        raise ConfigurationError("int8 needs data.calibration in the recipe: a function that returns inputs by name")
    inputs = _inputs(source, code.function(source)(), recipe)
    return Dataset(source, {name: array[: recipe.quantization.samples] for name, array in inputs.items()})


def _inputs(source: str, found: Any, recipe: Recipe) -> Arrays:
    expected = [tensor.name for tensor in recipe.inputs]
    if not isinstance(found, Mapping) or set(found) != set(expected):
        what = f"inputs {', '.join(map(str, found))}" if isinstance(found, Mapping) else f"a {type(found).__name__}"
        raise ConfigurationError(f"'{source}' gives {what}; expected a mapping with {', '.join(expected)}")
    inputs = {spec.name: _fitting(source, spec, found[spec.name]) for spec in recipe.inputs}
    sizes = {name: len(array) for name, array in inputs.items()}
    if len(set(sizes.values())) != 1:
        raise ConfigurationError(f"'{source}': numbers of samples differ between inputs: {sizes}")
    if 0 in sizes.values():
        raise ConfigurationError(f"'{source}' gives no sample: nothing can be judged or calibrated on it")
    return inputs


def _fitting(source: str, spec: Input, value: Any) -> Array:
    array: Array = np.ascontiguousarray(value)
    where = f"'{source}': input '{spec.name}'"
    if datatype_of(array) != spec.datatype:
        raise ConfigurationError(f"{where} is {datatype_of(array)}, the recipe says {spec.datatype}")
    fits = array.ndim == len(spec.dims) + 1 and all(
        dim in (-1, size) for dim, size in zip(spec.dims, array.shape[1:], strict=True)
    )
    if not fits:
        raise ConfigurationError(f"{where} is {list(array.shape)}, the recipe says [samples, {str(spec.dims)[1:]}")
    if is_floating(array) and not np.isfinite(array).all():
        raise ConfigurationError(f"{where} holds a NaN or an infinity; clean the data")
    return array
