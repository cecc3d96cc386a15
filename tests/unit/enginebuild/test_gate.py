"""The gate lets through what the recipe demands, and says with numbers why not."""

from typing import Any, get_args

import pytest
from enginebuild.gate import Evidence, choose, objections
from enginebuild.recipe import Precision, Thresholds

from services.core.manifest import AccuracyEntry, FidelityEntry


def thresholds(**changes: Any) -> Thresholds:
    return Thresholds.model_validate(
        {"min_accuracy": 0.98, "max_accuracy_loss_points": {"int8": 0.5, "fp32": 0}, "min_speedup": {"int8": 1.1}}
        | changes
    )


def evidence(  # noqa: PLR0917
    correct: int = 990,
    baseline: int = 990,
    samples: int = 1000,
    non_finite: int = 0,
    speedup: float | None = 2.0,
    precision: Precision = "int8",
) -> Evidence:
    accuracy = AccuracyEntry(
        value=correct / max(samples, 1),
        low=0,
        high=1,
        confidence=0.95,
        correct=correct,
        samples=samples,
        baseline=baseline / max(samples, 1),
        loss_points=100 * (baseline - correct) / max(samples, 1),
    )
    return Evidence(precision, accuracy, FidelityEntry(1.0, {}, non_finite, {}), speedup)


def test_what_meets_every_threshold_passes() -> None:
    assert objections(evidence(), thresholds()) == ()


@pytest.mark.parametrize(
    ("found", "passes"),
    [
        (evidence(correct=980, baseline=980), True),
        (evidence(correct=979, baseline=979), False),
        (evidence(correct=985, baseline=990), True),
        (evidence(correct=984, baseline=990), False),
        (evidence(correct=999, baseline=990), True),
        (evidence(speedup=1.1), True),
        (evidence(speedup=1.099), False),
        (evidence(non_finite=1), False),
    ],
    ids=range(8),
)
def test_a_threshold_is_met_at_its_value_and_missed_right_beyond_it(found: Evidence, passes: bool) -> None:
    assert (objections(found, thresholds()) == ()) is passes


def test_a_loss_that_is_exactly_the_bound_passes_whatever_the_rounding() -> None:
    for samples in range(100, 1000):
        bound = 100 * (7 - 4) / samples
        demanded = thresholds(min_accuracy=0, max_accuracy_loss_points={"int8": bound})
        assert objections(evidence(correct=4, baseline=7, samples=samples), demanded) == ()


def test_every_objection_is_told_with_its_numbers() -> None:
    found = evidence(correct=970, baseline=990, non_finite=3, speedup=0.9)
    assert objections(found, thresholds()) == (
        "3 of 1000 held-out samples give a NaN or an infinity",
        "accuracy 97.00% (970 of 1000) is below the 98.00% demanded",
        "2.00 points less accurate than FP32 PyTorch (99.00%), 0.5 allowed",
        "0.90 times as fast as FP32, 1.1 demanded",
    )


def test_no_data_is_never_good_enough() -> None:
    assert "no held-out sample was judged" in objections(
        evidence(correct=0, baseline=0, samples=0), thresholds(min_accuracy=0)
    )
    assert objections(evidence(speedup=None), thresholds()) == ("its speed was not measured, 1.1 times FP32 demanded",)


def test_speed_is_no_objection_where_the_recipe_demands_none() -> None:
    assert objections(evidence(precision="fp32", speedup=None), thresholds()) == ()


@pytest.mark.parametrize(
    ("verdicts", "waived", "chosen"),
    [
        ([("int8", ()), ("fp32", ())], False, "int8"),
        ([("int8", ("slow",)), ("fp32", ())], False, "fp32"),
        ([("int8", ("slow",)), ("fp32", ())], True, "fp32"),
        ([("int8", ("slow",)), ("fp32", ("wrong",))], False, None),
        ([("int8", ("slow",)), ("fp32", ("wrong",))], True, "int8"),
        ([("fp32", ("wrong",))], True, "fp32"),
        ([], True, None),
    ],
)
def test_the_first_that_passes_is_chosen_and_a_waiver_only_counts_where_none_does(
    verdicts: list[tuple[Precision, tuple[str, ...]]], waived: bool, chosen: Precision | None
) -> None:
    assert choose(verdicts, waived=waived) == chosen


def test_every_precision_is_known_to_the_gate() -> None:
    demanded = thresholds(max_accuracy_loss_points=dict.fromkeys(get_args(Precision), 1))
    for precision in get_args(Precision):
        assert objections(evidence(precision=precision), demanded) == ()
