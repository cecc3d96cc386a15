"""Accuracy with its uncertainty, and closeness to the network that was trained."""

from pathlib import Path

import numpy as np
import pytest
from enginebuild.data import Dataset
from enginebuild.datatypes import Array, Arrays
from enginebuild.evaluate import Judge, evaluate, judge_of, wilson
from enginebuild.recipecode import RecipeCode
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import ConfigurationError
from tests.fakes import tiny_recipe

LABELS = np.array([0, 1, 1, 0])
RIGHT = np.array([[2, 1], [1, 2], [0, 1], [3, 0]], dtype=np.float32)
DATA = Dataset("data.py:evaluation", {"left": np.zeros((4, 4), dtype=np.float32)}, LABELS)


def outputs(scores: Array) -> Arrays:
    return {"scores": scores, "difference": scores[:, :1] - scores[:, 1:]}


def judge(tmp_path: Path) -> Judge:
    with RecipeCode(tmp_path) as code:
        return judge_of(tiny_recipe.recipe(), code)


@pytest.mark.parametrize(
    ("correct", "samples", "low", "high"),
    # Agresti and Coull (1998), "Approximate is better than exact", and Newcombe (1998), table I.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(correct: int, samples: int, low: float, high: float) -> None:
    assert wilson(correct, samples) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_stays_between_0_and_1(counts: tuple[int, int]) -> None:
    correct, samples = counts
    low, high = wilson(correct, samples)
    assert 0 <= low <= correct / samples + 1e-12
    assert correct / samples - 1e-12 <= high <= 1


def test_accuracy_counts_best_classes_that_are_the_label(tmp_path: Path) -> None:
    scores = RIGHT.copy()
    scores[1] = [9, 2]
    accuracy, fidelity = evaluate(tiny_recipe.recipe(), DATA, judge(tmp_path), outputs(scores), outputs(RIGHT))
    assert (accuracy.correct, accuracy.samples, accuracy.value) == (3, 4, 0.75)
    assert (accuracy.baseline, accuracy.loss_points) == (1.0, 25.0)
    assert (fidelity.agreement, fidelity.non_finite) == (0.75, 0)
    assert fidelity.max_abs_diff == {"scores": 8.0, "difference": 8.0}
    assert fidelity.predictions == {"scores": (3, 1)}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_no_number_is_never_right(tmp_path: Path, value: float) -> None:
    broken = outputs(RIGHT.copy())
    broken["difference"][3, 0] = value
    accuracy, fidelity = evaluate(tiny_recipe.recipe(), DATA, judge(tmp_path), broken, outputs(RIGHT))
    assert accuracy.correct == 3
    assert fidelity.non_finite == 1
    assert fidelity.max_abs_diff == {"scores": 0.0, "difference": 0.0}


def test_the_recipe_may_say_itself_what_is_right(tmp_path: Path) -> None:
    tiny_recipe.write(tmp_path)
    (tmp_path / "data.py").write_text("def correct(outputs, labels): return outputs['difference'][:, 0] > labels")
    with RecipeCode(tmp_path) as code:
        recipe = tiny_recipe.recipe(
            data={"evaluation": "data.py:e", "calibration": "data.py:c", "correct": "data.py:correct"}
        )
        accuracy, _ = evaluate(recipe, DATA, judge_of(recipe, code), outputs(RIGHT), outputs(RIGHT))
    assert accuracy.correct == 2


@pytest.mark.parametrize("body", ["labels == 0.5 + labels", "(labels == 0)[:2]", "labels", "1 / 0", "True"])
def test_a_judge_that_does_not_give_one_bool_per_sample_is_refused(tmp_path: Path, body: str) -> None:
    tiny_recipe.write(tmp_path)
    (tmp_path / "data.py").write_text(f"def correct(outputs, labels): return {body}")
    recipe = tiny_recipe.recipe(
        data={"evaluation": "data.py:e", "calibration": "data.py:c", "correct": "data.py:correct"}
    )
    with RecipeCode(tmp_path) as code:
        judge_it = judge_of(recipe, code)
        if body.startswith("labels =="):
            assert not judge_it(outputs(RIGHT), LABELS).any()
        else:
            with pytest.raises(ConfigurationError, match=r"data\.py:correct"):
                judge_it(outputs(RIGHT), LABELS)
