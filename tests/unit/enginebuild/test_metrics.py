"""Metrics are what the textbooks and scikit-learn say they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from enginebuild.data import Dataset
from enginebuild.datatypes import Array, Arrays
from enginebuild.measure.evaluate import evaluate, fidelity
from enginebuild.measure.metric import Metric, metrics_of
from enginebuild.recipecode import RecipeCode
from sklearn import metrics as sk

from services.core.errors import BuildFailed, ConfigurationError
from services.core.records.manifest import MetricEntry
from tests.fakes import tiny_recipe

RANDOM = np.random.default_rng(0)
SAMPLES = 200
SCORES = RANDOM.normal(size=(SAMPLES, 3)).astype(np.float32)
CLASSES = RANDOM.integers(0, 3, SAMPLES)
BINARY = RANDOM.integers(0, 2, SAMPLES)
NUMBERS = RANDOM.normal(size=(SAMPLES, 4)).astype(np.float32)
WANTED = (NUMBERS + RANDOM.normal(0, 0.3, (SAMPLES, 4))).astype(np.float32)


def made(metric: dict[str, Any], labels: Array | None, dims: list[int], code: RecipeCode | None = None) -> Metric:
    """Return the metric of a recipe with the output ``y``."""
    output: dict[str, Any] = {"name": "y", "datatype": "FP32", "dims": dims}
    if len(dims) == 1 and dims[0] > 1:
        output["labels"] = "labels.txt"
    recipe = tiny_recipe.recipe(
        inputs=[{"name": "x", "datatype": "FP32", "dims": [4]}],
        outputs=[output],
        metrics=[metric],
        gate={"metrics": {metric.get("name", metric["metric"]): {"min": 0}}},
    )
    data = Dataset("data.py:evaluation", {"x": NUMBERS}, labels)
    (found,) = metrics_of(recipe, code or RecipeCode(Path("/no/such/recipe")), data)
    return found


def measured(metric: Metric, outputs: Array, reference: Array | None = None) -> MetricEntry:
    (entry,) = evaluate([metric], {"y": outputs}, {"y": outputs if reference is None else reference}, seed=0)
    return entry


@pytest.mark.parametrize(
    ("metric", "labels", "outputs", "expected"),
    [
        ({"metric": "accuracy"}, CLASSES, SCORES, sk.accuracy_score(CLASSES, SCORES.argmax(1))),
        ({"metric": "f1"}, CLASSES, SCORES, sk.f1_score(CLASSES, SCORES.argmax(1), average="macro")),
        ({"metric": "precision"}, CLASSES, SCORES, sk.precision_score(CLASSES, SCORES.argmax(1), average="macro")),
        ({"metric": "recall"}, CLASSES, SCORES, sk.recall_score(CLASSES, SCORES.argmax(1), average="macro")),
        ({"metric": "recall", "positive": 2}, CLASSES, SCORES, sk.recall_score(CLASSES == 2, SCORES.argmax(1) == 2)),
        (
            {"metric": "precision", "threshold": 0.5, "positive": 1},
            BINARY,
            SCORES[:, :1],
            sk.precision_score(BINARY, SCORES[:, 0] > 0.5),
        ),
        ({"metric": "accuracy", "threshold": 0.0}, BINARY, SCORES[:, :1], np.mean((SCORES[:, 0] > 0) == BINARY)),
        ({"metric": "auc"}, BINARY, SCORES[:, :1], sk.roc_auc_score(BINARY, SCORES[:, 0])),
        ({"metric": "auc"}, BINARY, SCORES[:, :2], sk.roc_auc_score(BINARY, SCORES[:, 1] - SCORES[:, 0])),
        ({"metric": "auc"}, BINARY, SCORES[:, :1].round(), sk.roc_auc_score(BINARY, SCORES[:, 0].round())),
        ({"metric": "mae"}, WANTED, NUMBERS, sk.mean_absolute_error(WANTED, NUMBERS)),
        ({"metric": "rmse"}, WANTED, NUMBERS, sk.root_mean_squared_error(WANTED.ravel(), NUMBERS.ravel())),
        ({"metric": "mape"}, WANTED, NUMBERS, 100 * sk.mean_absolute_percentage_error(WANTED, NUMBERS)),
        ({"metric": "reconstruction_error"}, None, WANTED, sk.mean_squared_error(NUMBERS, WANTED)),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_a_metric_is_what_scikit_learn_says(
    metric: dict[str, Any], labels: Array | None, outputs: Array, expected: float
) -> None:
    entry = measured(made(metric, labels, [outputs.shape[1]]), outputs)
    assert entry.value == pytest.approx(expected, rel=1e-5)
    assert entry.low <= entry.value <= entry.high
    assert (entry.loss, entry.baseline, entry.samples) == (0, entry.value, SAMPLES)


def test_a_distance_of_distributions_is_zero_for_the_same_and_the_shift_for_a_shifted_one() -> None:
    metric = made({"metric": "distribution_distance"}, WANTED, [4])
    assert measured(metric, WANTED).value == 0
    assert measured(metric, RANDOM.permutation(WANTED)).value == pytest.approx(0, abs=1e-6)
    near, far = (measured(metric, WANTED + shift).value for shift in (0.1, 1.0))
    assert far == pytest.approx(10 * near, rel=1e-3)


def test_closeness_is_that_to_fp32_pytorch() -> None:
    turned = -SCORES
    assert measured(made({"metric": "cosine"}, None, [3]), turned, SCORES).value == pytest.approx(-1)
    agreement = measured(made({"metric": "agreement"}, None, [3]), turned, SCORES)
    assert agreement.value == np.mean(turned.argmax(1) == SCORES.argmax(1))
    assert (agreement.baseline, agreement.loss) == (1.0, 1 - agreement.value)


def test_a_loss_is_what_the_same_samples_lost_with_a_bound_above_it() -> None:
    worse = SCORES.copy()
    worse[:10] = np.roll(worse[:10], 1, axis=1)
    metric = made({"metric": "accuracy"}, SCORES.argmax(1), [3])
    entry = measured(metric, worse, SCORES)
    assert (entry.baseline, entry.value) == (1.0, 0.95)
    assert entry.loss == pytest.approx(0.05)
    assert 0.05 < entry.loss_high < 0.1
    error = measured(made({"metric": "mae"}, WANTED, [4]), WANTED + 0.5, WANTED)
    assert error.baseline == 0.0
    assert error.loss == pytest.approx(0.5, rel=1e-3)
    assert error.loss_high >= error.loss


def test_what_is_no_number_is_wrong_in_a_share_and_left_out_of_an_error() -> None:
    broken = SCORES.copy()
    broken[:20, 1] = np.nan
    entry = measured(made({"metric": "accuracy"}, SCORES.argmax(1), [3]), broken, SCORES)
    assert (entry.value, entry.samples) == (0.9, SAMPLES)
    numbers = WANTED.copy()
    numbers[:20, 1] = np.inf
    error = measured(made({"metric": "mae"}, WANTED, [4]), numbers, WANTED)
    assert (error.value, error.samples) == (0.0, SAMPLES - 20)
    with pytest.raises(BuildFailed, match="every one of 200 held-out samples gives a NaN"):
        measured(made({"metric": "mae"}, WANTED, [4]), WANTED * np.nan, WANTED)


def test_a_recipes_own_metric_is_the_mean_of_what_it_gives(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "def right(outputs, labels): return outputs['y'][:, 0] > labels\n"
        "def number(outputs, labels): return outputs['y'][:, 0]\n"
        "def wrong(outputs, labels): return outputs['y']\n"
    )
    with RecipeCode(tmp_path) as code:

        def own(function: str, **more: str) -> Metric:
            spec = {"metric": "custom", "name": "own", "function": f"own.py:{function}", **more}
            return made(spec, WANTED[:, 1], [4], code)

        right, number = measured(own("right"), NUMBERS), measured(own("number", better="lower"), NUMBERS)
        with pytest.raises(ConfigurationError, match=r"returns float32 \[200, 4\]; expected a number or a bool"):
            measured(own("wrong"), NUMBERS)
    assert right.value == np.mean(NUMBERS[:, 0] > WANTED[:, 1])
    assert (right.percent, number.percent, number.better) == (True, False, "lower")
    assert number.value == pytest.approx(float(NUMBERS[:, 0].mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("metric", "labels", "dims", "words"),
    [
        ({"metric": "accuracy"}, None, [3], "metric accuracy needs labels"),
        ({"metric": "accuracy"}, CLASSES + 1, [3], "labels from 1 to 3, expected 0 to 2"),
        ({"metric": "accuracy"}, WANTED, [3], "expected one class index per sample"),
        ({"metric": "accuracy"}, CLASSES, [1], "or a threshold for a single score"),
        ({"metric": "accuracy", "threshold": 0.5}, BINARY, [3], "a threshold needs a single score"),
        ({"metric": "recall", "positive": 3}, CLASSES, [3], "positive is 3, expected 0 to 2"),
        ({"metric": "auc"}, np.ones(SAMPLES, dtype=int), [1], "labels are of one class"),
        ({"metric": "auc", "positive": 4}, BINARY, [3], "positive is 4"),
        ({"metric": "mae"}, WANTED[:, :3], [4], r"output 'y' is \[4\] per sample, the labels \[3\]"),
        ({"metric": "mae"}, WANTED * np.nan, [4], "the labels hold a NaN"),
        ({"metric": "mape"}, WANTED * 0, [4], "every label is 0"),
        ({"metric": "reconstruction_error"}, None, [3], "the input that it is to reproduce"),
        ({"metric": "distribution_distance"}, BINARY, [4], "which are the real samples"),
        ({"metric": "agreement"}, None, [1], "has no classes to agree on"),
    ],
)
def test_labels_that_do_not_fit_a_metric_are_refused_with_what_was_found(
    metric: dict[str, Any], labels: Array | None, dims: list[int], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        made(metric, labels, dims)


def test_outputs_that_are_no_floats_are_compared_too() -> None:
    recipe = tiny_recipe.recipe(
        outputs=[{"name": "flag", "datatype": "BOOL", "dims": [2]}],
        metrics=[{"metric": "cosine"}],
        gate={"metrics": {"cosine": {"min": 0}}},
    )
    reference: Arrays = {"flag": np.array([[True, False], [True, True]])}
    found = fidelity(recipe, {"flag": np.array([[True, False], [False, True]])}, reference)
    assert (found.non_finite, found.max_abs_diff) == (0, {"flag": 1.0})
    assert (found.worst[0].row, found.worst[0].distance) == (1, 1.0)


def test_fidelity_names_the_samples_that_are_furthest_off() -> None:
    recipe = tiny_recipe.recipe()
    reference: Arrays = {"scores": np.array([[2, 1], [1, 2], [0, 1], [3, 0]], dtype=np.float32)}
    reference["difference"] = reference["scores"][:, :1] - reference["scores"][:, 1:]
    outputs = {name: array.copy() for name, array in reference.items()}
    outputs["scores"][1] = [9, 2]
    outputs["difference"][3, 0] = np.nan
    found = fidelity(recipe, outputs, reference)
    assert (found.agreement, found.non_finite) == (0.75, 1)
    assert found.max_abs_diff == {"scores": 8.0, "difference": 0.0}
    assert found.predictions == {"scores": (3, 1)}
    assert [(case.row, case.distance) for case in found.worst[:2]] == [(3, None), (1, pytest.approx(8 / 3))]
