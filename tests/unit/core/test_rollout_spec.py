import math
from typing import Any

import pytest

from services.core.errors import InvalidRequest
from services.core.rollouts.custom_metric import CustomMetric
from services.core.rollouts.experiment import Experiment, OutcomeSpec
from services.core.rollouts.rollout_spec import STEPS_OF, AnalysisConfig, Copies, RolloutSpec, Step, Strategy


@pytest.mark.parametrize(
    ("weight", "words"), [(0, "needs a mirror"), (-1, "0 to 100"), (100, "needs a mirror"), (101, "0 to 100")]
)
def test_a_step_without_both_sides_is_refused(weight: int, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        Step(weight)


@pytest.mark.parametrize("weights", [(5, 5), (25, 5)])
def test_weights_must_rise(weights: tuple[int, int]) -> None:
    with pytest.raises(InvalidRequest, match="higher than the one before"):
        RolloutSpec("m", 2, steps=tuple(Step(weight) for weight in weights))


def test_a_step_that_needs_no_evidence_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="without evidence"):
        Step(5, min_requests=0)


def test_a_metric_that_a_step_has_no_time_for_is_refused() -> None:
    metric = CustomMetric("queue", "up", at_most=5.0, interval_s=3600.0, count=3)
    with pytest.raises(InvalidRequest, match="'queue' needs 3 good answers, one every 3600 s"):
        RolloutSpec("m", 2, metrics=(metric,), max_step_duration_s=3600.0)
    assert RolloutSpec("m", 2, metrics=(metric,), max_step_duration_s=7201.0).metrics == (metric,)


def test_a_step_longer_than_its_longest_time_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="rolled back before"):
        RolloutSpec("m", 2, steps=(Step(5, duration_s=100),), max_step_duration_s=50)


@pytest.mark.parametrize(
    "values",
    [
        {"max_error_increase": -0.1},
        {"max_p99_ratio": 0.9},
        {"max_p99_ratio": math.inf},
        {"max_prediction_shift": math.nan},
        {"false_rollback_bound": 0.0},
        {"p99_floor_s": -1.0},
        {"max_stable_error": 1.1},
    ],
)
def test_a_tolerance_out_of_range_is_refused_by_name(values: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(values))):
        AnalysisConfig(**values)


@pytest.mark.parametrize("steps", [(), tuple(Step(1 + index) for index in range(51))])
def test_the_number_of_steps_is_bounded(steps: tuple[Step, ...]) -> None:
    with pytest.raises(InvalidRequest, match="1 to 50"):
        RolloutSpec("m", 2, steps=steps)


@pytest.mark.parametrize("version", [0, -3, 2**63])
def test_a_version_is_one_that_triton_can_have(version: int) -> None:
    with pytest.raises(InvalidRequest, match="version"):
        RolloutSpec("m", version)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_every_strategy_has_steps_of_its_own(strategy: Strategy) -> None:
    experiment = Experiment(OutcomeSpec("clicked")) if strategy is Strategy.AB else None
    spec = RolloutSpec("m", 2, strategy, STEPS_OF[strategy], experiment=experiment)
    assert spec.strategy is strategy


@pytest.mark.parametrize(
    ("strategy", "weights"),
    [
        (Strategy.CANARY, [0]),
        (Strategy.CANARY, [5, 100]),
        (Strategy.CANARY, [25, 5]),
        (Strategy.BLUE_GREEN, [0]),
        (Strategy.BLUE_GREEN, [0, 50]),
        (Strategy.BLUE_GREEN, [100, 0]),
        (Strategy.SHADOW, [0, 100]),
        (Strategy.SHADOW, [5]),
    ],
)
def test_steps_that_do_not_fit_the_strategy_are_refused(strategy: Strategy, weights: list[int]) -> None:
    steps = tuple(Step(weight, mirror_percent=10) for weight in weights)
    with pytest.raises(InvalidRequest, match="steps' weights are"):
        RolloutSpec("m", 2, strategy, steps)


@pytest.mark.parametrize(
    "wrong",
    [{"floor_percent": 91}, {"floor_percent": -1}, {"slice_key": "x" * 65}, {"relative_tolerance": float("nan")},
     {"absolute_tolerance": -1.0}],
)  # fmt: skip
def test_a_comparison_of_copies_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        Copies(**wrong)
