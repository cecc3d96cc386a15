"""How far an answer depends on who shares its batch is measured on every variant, told, and bounded where asked."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from enginebuild.datatypes import Arrays
from enginebuild.measure.batching import BATCHES, ROWS, batch_dependence
from enginebuild.pipeline import BuildResult, Order, build
from enginebuild.report.page import render
from enginebuild.report.table import HEADS, rows
from enginebuild.runtime import batch
from pydantic import ValidationError

from services.core.records.batch_record import BatchEntry
from tests.fakes import tiny_recipe

INPUTS: Arrays = {"left": np.random.default_rng(0).random((200, 4), dtype=np.float32)}


class Formula:
    """A model that is a function of a batch."""

    def __init__(self, run: Callable[[Arrays], Arrays]) -> None:
        self._run = run
        self.sizes: list[int] = []

    def run_all(self, inputs: Arrays, batch_size: int) -> Arrays:
        self.sizes.append(batch_size)
        parts = [self._run(batch(inputs, start, batch_size)) for start in range(0, len(inputs["left"]), batch_size)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def once(self, inputs: Arrays) -> Callable[[], object]:
        return lambda: self._run(inputs)


def of_rows(inputs: Arrays) -> Arrays:
    left = inputs["left"]
    return {"scores": left[:, :2], "difference": left[:, :1] - left[:, 1:2]}


def of_the_batch(inputs: Arrays) -> Arrays:
    found, off = of_rows(inputs), np.float32(len(inputs["left"]) > 1)
    shift = np.array([0, off], dtype=np.float32)
    return {"scores": found["scores"] + shift, "difference": found["difference"] + off / 4}


def test_answers_that_are_a_matter_of_each_row_alone_do_not_depend_on_the_batch() -> None:
    model = Formula(of_rows)
    found = batch_dependence(tiny_recipe.recipe(), model, INPUTS)
    assert found == BatchEntry(ROWS, BATCHES, 16, {"scores": 0.0, "difference": 0.0}, 0.0)
    assert model.sizes == [1, *[16] * BATCHES]


def test_what_a_batch_does_to_a_row_is_told_by_output_and_in_classes() -> None:
    found = batch_dependence(tiny_recipe.recipe(), Formula(of_the_batch), INPUTS)
    assert found.max_abs_diff["scores"] == pytest.approx(1.0)
    assert found.max_abs_diff["difference"] == pytest.approx(0.25)
    left = INPUTS["left"][:ROWS]
    assert found.changed == (left[:, 0] >= left[:, 1]).mean()
    assert found.text == f"1, {found.changed:.2%} change class"


def test_what_is_no_number_is_left_out_and_few_rows_are_enough() -> None:
    few = {"left": INPUTS["left"][:3].copy()}
    few["left"][1] = np.nan
    found = batch_dependence(tiny_recipe.recipe(), Formula(of_the_batch), few)
    assert found.rows == 3
    assert found.max_abs_diff["difference"] == pytest.approx(0.25)


def run(tmp_path: Path, **gate: object) -> BuildResult:
    tiny_recipe.write(tmp_path / "recipe")
    demanded = {
        "confidence": None,
        "metrics": {"accuracy": {"min": 0.5}},
        "min_speedup": {"int8_dynamic": 0.0},
        **gate,
    }
    made = tiny_recipe.recipe(variants=["int8_dynamic", "fp32"], gate=demanded)
    order = Order(tmp_path / "repository", "2026-11-28T10:00:00+00:00")
    return build(made, tmp_path / "recipe", order, lambda _: None)


def test_a_scale_over_the_whole_batch_is_on_record_and_in_the_report(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.published is not None
    manifest = result.published.manifest
    assert manifest.precision == "int8_dynamic"
    found = manifest.batching
    assert (found.rows, found.batch_size) == (64, 16)
    assert found.max_abs_diff["scores"] > 1e-4
    assert manifest.tolerance("scores") == manifest.fidelity.max_abs_diff["scores"] + 2 * found.max_abs_diff["scores"]
    exact = next(one for one in result.candidates if one.name == "fp32").batching
    assert exact is not None
    assert max(exact.max_abs_diff.values()) < 1e-5
    assert exact.changed == 0.0
    cells = [line[HEADS.index("in a batch")] for line in rows(result.findings)]
    assert cells == [found.text, exact.text]
    assert "64 rows alone and in 3 batches of 16 each" in render(result.findings)


def test_a_recipe_may_refuse_answers_that_depend_on_their_batch(tmp_path: Path) -> None:
    result = run(tmp_path, batching={"max_difference": 1e-5})
    (objection,) = result.candidates[0].objections
    assert "of a row changes by" in objection
    assert result.published is not None
    assert result.published.manifest.variant == "fp32"


@pytest.mark.parametrize("rule", [{}, {"max_difference": -1}, {"max_changed": 2}, {"max_differences": 1}])
def test_a_rule_that_bounds_nothing_or_nonsense_is_refused(rule: dict[str, float]) -> None:
    gate = {"metrics": {"accuracy": {"min": 0.5}}, "batching": rule}
    with pytest.raises(ValidationError):
        tiny_recipe.recipe(variants=["fp32"], gate=gate)


def test_classes_cannot_be_bounded_where_there_are_none() -> None:
    outputs = [
        {"name": "scores", "datatype": "FP32", "dims": [2]},
        {"name": "difference", "datatype": "FP32", "dims": [1]},
    ]
    gate = {"metrics": {"cosine": {"min": 0.5}}, "batching": {"max_changed": 0.0}}
    with pytest.raises(ValidationError, match="no output has classes"):
        tiny_recipe.recipe(
            variants=["fp32"], gate=gate, outputs=outputs, metrics=[{"metric": "cosine", "output": "scores"}]
        )
