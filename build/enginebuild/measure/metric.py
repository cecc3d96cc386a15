"""The metrics of one recipe: from what it names to what can be computed on outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from enginebuild.data import Dataset
from enginebuild.datatypes import Array, Arrays
from enginebuild.measure import classification, distances
from enginebuild.measure.scorer import Flags, Scorer, mean, share
from enginebuild.recipe.metrics import (
    Accuracy,
    Auc,
    Better,
    ClassShare,
    Custom,
    Distance,
    Error,
    MetricSpec,
    Reconstruction,
)
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.tensors import Output
from enginebuild.recipecode import RecipeCode
from services.core.errors import ConfigurationError

_TWO = 2  # classes of a yes or no


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a recipe.

    Attributes:
        name: Its name in rules and tables.
        kind: What it is: ``accuracy``, ``mae`` and so on.
        output: The output that it looks at; None where it looks at all.
        better: Whether more or less of it is better.
        percent: Whether it is a share, shown in percent.
        scorer: From (outputs, outputs of FP32 PyTorch) to the metric.
    """

    name: str
    kind: str
    output: str | None
    better: Better
    percent: bool
    scorer: Callable[[Arrays, Arrays], Scorer]

    def worse_by(self, baseline: float, value: float) -> float:
        """Return how much worse a value is than the baseline's, in the metric's unit; negative where it is better."""
        return baseline - value if self.better == "higher" else value - baseline


def metrics_of(recipe: Recipe, code: RecipeCode, data: Dataset) -> list[Metric]:
    """Return the recipe's metrics, ready for outputs on this data.

    Raises:
        ConfigurationError: The labels do not fit a metric, or the recipe's function cannot be imported.
    """
    return [_metric(spec, recipe, code, data) for spec in recipe.metrics]


def _metric(spec: MetricSpec, recipe: Recipe, code: RecipeCode, data: Dataset) -> Metric:
    if isinstance(spec, Custom):
        return Metric(spec.key, spec.metric, spec.output, spec.better, False, _custom(spec, code, data))
    output = recipe.output_of(spec)
    better: Better = "lower" if isinstance(spec, Error | Reconstruction | Distance) else "higher"
    percent = better == "higher" and spec.metric != "cosine"
    return Metric(spec.key, spec.metric, output.name, better, percent, _scorer(spec, output, recipe, data))


def _scorer(spec: MetricSpec, output: Output, recipe: Recipe, data: Dataset) -> Callable[[Arrays, Arrays], Scorer]:
    match spec:
        case Accuracy() | ClassShare():
            return _decided(spec, output, data)
        case Auc():
            return _auc(spec, output, data)
        case Error():
            return _error(spec, output, data)
        case Reconstruction():
            return _reconstruction(spec, output, data.inputs[spec.input or recipe.inputs[0].name])
        case Distance():
            return _distance(spec, output, data)
        case _:
            return _closeness(spec, output)


def _decided(spec: Accuracy | ClassShare, output: Output, data: Dataset) -> Callable[[Arrays, Arrays], Scorer]:
    name, classes = output.name, _TWO if spec.threshold is not None else _classes_of(spec.key, output)
    if spec.threshold is not None and int(np.prod(output.dims)) != 1:
        raise ConfigurationError(f"metric {spec.key}: a threshold needs a single score, '{name}' has {output.dims}")
    labels = _class_labels(spec.key, data, classes)
    if isinstance(spec, Accuracy):
        return lambda o, _: classification.accuracy(classification.decisions(o[name], spec.threshold), labels)
    positive = spec.positive
    if positive is not None and positive >= classes:
        raise ConfigurationError(f"metric {spec.key}: positive is {positive}, expected 0 to {classes - 1}")
    return lambda o, _: classification.class_share(
        spec.metric, classification.decisions(o[name], spec.threshold), labels, classes, positive
    )


def _auc(spec: Auc, output: Output, data: Dataset) -> Callable[[Arrays, Arrays], Scorer]:
    name, labels = output.name, _class_labels(spec.key, data, _TWO)
    if len(np.unique(labels)) != _TWO:
        raise ConfigurationError(f"metric {spec.key}: the held-out labels are of one class; expected both 0 and 1")
    if spec.positive >= max(_TWO, output.dims[-1]):
        raise ConfigurationError(f"metric {spec.key}: positive is {spec.positive}, '{name}' has {output.dims}")
    return lambda o, _: classification.auc(classification.probability_of(o[name], spec.positive), labels)


def _error(spec: Error, output: Output, data: Dataset) -> Callable[[Arrays, Arrays], Scorer]:
    name, wanted = output.name, _labels(spec.key, data)
    _fits(spec.key, output, wanted.shape[1:], "the labels")
    if not np.isfinite(wanted).all():
        raise ConfigurationError(f"metric {spec.key}: the labels hold a NaN or an infinity; clean the data")
    if spec.metric == "mape" and not wanted.any():
        raise ConfigurationError(f"metric {spec.key}: every label is 0, of which nothing is a percentage; take mae")
    score = {
        "mae": distances.absolute_error,
        "rmse": distances.root_squared_error,
        "mape": distances.percentage_error,
    }[spec.metric]
    return lambda o, _: score(o[name], wanted)


def _distance(spec: Distance, output: Output, data: Dataset) -> Callable[[Arrays, Arrays], Scorer]:
    name, real = output.name, _labels(spec.key, data)
    _fits(spec.key, output, real.shape[1:], "the labels, which are the real samples")
    return lambda o, _: distances.sliced_wasserstein(o[name], real)


def _reconstruction(spec: Reconstruction, output: Output, wanted: Array) -> Callable[[Arrays, Arrays], Scorer]:
    name = output.name
    _fits(spec.key, output, wanted.shape[1:], "the input that it is to reproduce")
    return lambda o, _: distances.squared_error(o[name], wanted)


def _closeness(spec: MetricSpec, output: Output) -> Callable[[Arrays, Arrays], Scorer]:
    name = output.name
    if spec.metric == "cosine":
        return lambda o, r: distances.cosine(o[name], r[name])
    if output.labels is None:
        raise ConfigurationError(f"metric {spec.key}: output '{name}' has no classes to agree on; take cosine")
    return lambda o, r: share(o[name].argmax(axis=1) == r[name].argmax(axis=1))


def _custom(spec: Custom, code: RecipeCode, data: Dataset) -> Callable[[Arrays, Arrays], Scorer]:
    function = code.function(spec.function)

    def score(outputs: Arrays, _: Arrays) -> Scorer:
        found = np.asarray(function(outputs, data.labels))
        if found.shape != (data.samples,) or found.dtype.kind not in "bfiu":
            raise ConfigurationError(
                f"'{spec.function}' returns {found.dtype} {list(found.shape)}; expected a number or a bool for each of "
                f"{data.samples} samples"
            )
        if found.dtype == np.bool_:
            flags: Flags = found
            return share(flags)
        return mean(found)

    return score


def _labels(metric: str, data: Dataset) -> Array:
    if data.labels is None:
        raise ConfigurationError(f"metric {metric} needs labels, and '{data.source}' gives None")
    return data.labels


def _class_labels(metric: str, data: Dataset, classes: int) -> Array:
    labels = _labels(metric, data)
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        raise ConfigurationError(
            f"metric {metric}: '{data.source}' gives labels of {labels.dtype} {list(labels.shape)}, "
            "expected one class index per sample"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ConfigurationError(
            f"metric {metric}: '{data.source}' gives labels from {low} to {high}, expected 0 to {classes - 1}"
        )
    return labels.astype(np.int64)


def _classes_of(metric: str, output: Output) -> int:
    if len(output.dims) != 1 or output.dims[0] < _TWO:
        raise ConfigurationError(
            f"metric {metric}: output '{output.name}' has {output.dims}; expected scores of two classes or more, "
            "or a threshold for a single score"
        )
    return output.dims[0]


def _fits(metric: str, output: Output, shape: tuple[int, ...], what: str) -> None:
    dims = tuple(output.dims)
    if len(dims) != len(shape) or any(dim not in (-1, size) for dim, size in zip(dims, shape, strict=True)):
        raise ConfigurationError(
            f"metric {metric}: output '{output.name}' is {list(dims)} per sample, {what} {list(shape)}"
        )
