"""The gate lets through what the recipe demands, and says with numbers why not."""

from dataclasses import replace
from typing import Any

import pytest
from enginebuild.gate import Evidence, choose, objections
from enginebuild.recipe.gate import GateRules

from services.core.records.batch_record import BatchEntry
from services.core.records.manifest import FidelityEntry, MetricEntry
from tests.fakes.releases import ACCURACY

CLOSE = FidelityEntry(1.0, {}, 0, {}, ())
ERROR = replace(ACCURACY, name="mae", kind="mae", better="lower", percent=False, value=1.0, baseline=1.0)


def rules(**changes: Any) -> GateRules:
    accuracy = {"min": 0.98, "max_loss": {"int8": 0.005, "fp32": 0.0}}
    return GateRules.model_validate(
        {"confidence": None, "metrics": {"accuracy": accuracy}, "min_speedup": {"int8": 1.1}} | changes
    )


def metric(right: int = 990, baseline: int = 990, samples: int = 1000, **changes: Any) -> MetricEntry:
    loss = (baseline - right) / max(samples, 1)
    found = replace(ACCURACY, value=right / max(samples, 1), baseline=baseline / max(samples, 1), samples=samples)
    return replace(found, **({"loss": loss, "loss_high": loss + 0.004} | changes))


def evidence(
    *metrics: MetricEntry,
    speedup: float | None = 2.0,
    variant: str = "int8",
    non_finite: int = 0,
    batching: BatchEntry | None = None,
) -> Evidence:
    close = replace(CLOSE, non_finite=non_finite)
    return Evidence(variant, variant == "fp32", metrics or (metric(),), close, speedup, batching)


def test_what_meets_every_bound_passes() -> None:
    assert objections(evidence(), rules()) == ()


@pytest.mark.parametrize(
    ("found", "passes"),
    [
        (evidence(metric(980, 980)), True),
        (evidence(metric(979, 979)), False),
        (evidence(metric(985, 990)), True),
        (evidence(metric(984, 990)), False),
        (evidence(metric(999, 990)), True),
        (evidence(speedup=1.1), True),
        (evidence(speedup=1.099), False),
        (evidence(non_finite=1), False),
    ],
    ids=range(8),
)
def test_a_bound_is_met_at_its_value_and_missed_right_beyond_it(found: Evidence, passes: bool) -> None:
    assert (objections(found, rules()) == ()) is passes


def test_a_loss_that_is_exactly_the_bound_passes_whatever_the_rounding() -> None:
    for samples in range(100, 1000):
        demanded = rules(metrics={"accuracy": {"max_loss": (7 - 4) / samples}})
        assert objections(evidence(metric(4, 7, samples)), demanded) == ()


def test_with_confidence_a_loss_must_be_shown_to_be_within_its_bound() -> None:
    sure = rules(confidence=0.95)
    assert objections(evidence(metric(990, 990, loss_high=0.005)), sure) == ()
    (objection,) = objections(evidence(metric(990, 990, loss_high=0.006)), sure)
    assert objection == (
        "accuracy 99.00% against 99.00% in FP32 PyTorch: at 95% confidence it may be 0.60 points worse, "
        "0.50 points allowed (1000 samples; more of them would tell)"
    )


def test_an_error_is_bounded_from_above_and_its_loss_in_percent() -> None:
    demanded = rules(metrics={"mae": {"max": 1.2, "max_loss_percent": 5}})
    assert objections(evidence(replace(ERROR, value=1.05, loss=0.05)), demanded) == ()
    assert objections(evidence(replace(ERROR, value=1.3, loss=0.3)), demanded) == (
        "mae 1.3 on 64 samples, at most 1.2 demanded",
        "mae 1.3 against 1 in FP32 PyTorch: 0.3 worse, 0.05 allowed",
    )


def test_every_objection_is_told_with_its_numbers() -> None:
    assert objections(evidence(metric(970, 990), speedup=0.9, non_finite=3), rules()) == (
        "3 held-out samples give a NaN or an infinity",
        "accuracy 97.00% on 1000 samples, at least 98.00% demanded",
        "accuracy 97.00% against 99.00% in FP32 PyTorch: 2.00 points worse, 0.50 points allowed",
        "0.90 times as fast as FP32, 1.1 demanded",
    )


def test_no_data_is_never_good_enough() -> None:
    assert objections(evidence(metric(0, 0, 0)), rules(metrics={"accuracy": {"min": 0}})) == (
        "accuracy was not measured",
    )
    assert objections(evidence(ERROR), rules()) == ("accuracy was not measured",)
    assert objections(evidence(speedup=None), rules()) == ("its speed was not measured, 1.1 times FP32 demanded",)


def test_a_variant_that_is_not_faster_is_refused_unless_it_is_fp32_or_the_recipe_says_otherwise() -> None:
    demanded = rules(min_speedup={})
    assert objections(evidence(speedup=0.99), demanded) == ("0.99 times as fast as FP32, 1 demanded",)
    assert objections(evidence(speedup=0.99, variant="fp32"), demanded) == ()
    assert objections(evidence(speedup=0.99), rules(min_speedup={"int8": 0})) == ()


def test_an_answer_may_depend_on_its_batch_as_far_as_the_recipe_lets_it() -> None:
    bounded = rules(batching={"max_difference": 0.1, "max_changed": 0.01})
    found = BatchEntry(rows=128, batches=3, batch_size=32, max_abs_diff={"a": 0.1, "b": 0.05}, changed=0.01)
    assert objections(evidence(batching=found), bounded) == ()
    worse = replace(found, max_abs_diff={"a": 0.1, "b": 0.25}, changed=0.02)
    assert objections(evidence(batching=worse), bounded) == (
        "'b' of a row changes by 0.25 with the rows in its batch, 0.1 allowed (on 128 rows in batches of 32)",
        "the class of 2.00% changes with the rows in its batch, 1.00% allowed (on 128 rows in batches of 32)",
    )
    assert objections(evidence(batching=worse), rules()) == ()
    assert objections(evidence(batching=None), bounded) == ("how far answers depend on their batch was not measured",)


@pytest.mark.parametrize(
    ("verdicts", "waived", "chosen"),
    [
        ({"int8": (), "fp32": ()}, False, "int8"),
        ({"int8": ("slow",), "fp32": ()}, False, "fp32"),
        ({"int8": ("slow",), "fp32": ()}, True, "fp32"),
        ({"int8": ("slow",), "fp32": ("wrong",)}, False, None),
        ({"int8": ("slow",), "fp32": ("wrong",)}, True, "int8"),
        ({"fp32": ("wrong",)}, True, "fp32"),
        ({}, True, None),
    ],
)
def test_the_first_that_passes_is_chosen_and_a_waiver_only_counts_where_none_does(
    verdicts: dict[str, tuple[str, ...]], waived: bool, chosen: str | None
) -> None:
    assert choose(verdicts, waived=waived) == chosen
