"""What a forecast says comes about when the traffic goes on as it was."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.rollouts.simulation import simulate
from loadtest.rollouts.traffic import Traffic, Version, answered
from services.core.analysis.assessment import Terms, assess
from services.core.analysis.verdict import Outcome
from services.core.counts.tally import Tally
from services.core.memory.terms import LeakCheck, MemoryTerms
from services.core.rollouts.custom_metric import CustomMetric, Measurements, Reading
from services.core.rollouts.evidence import Seen
from services.core.rollouts.forecast import forecast, plan, scaled
from services.core.rollouts.rollout import Phase
from services.core.rollouts.rollout_spec import AnalysisConfig, RolloutSpec, Step

SPEC = RolloutSpec("m", 2, steps=(Step(5, 30, 200), Step(50, 10, 200)))
TERMS = Terms(AnalysisConfig(), 10, 200, 3, final=True)


def seen(requests: int, version: Version | None = None, seed: int = 1) -> Tally:
    return answered(version or Version(), requests, np.random.default_rng(seed))


def test_what_is_forecast_is_what_that_much_more_evidence_gives() -> None:
    stable, candidate = seen(900), seen(100)
    found = forecast(TERMS, Seen(stable, candidate), 10.0)
    assert found is not None
    assert found.outcome is Outcome.PASS
    factor = 1 + found.requests / candidate.requests
    assert assess(TERMS, Seen(scaled(stable, factor), scaled(candidate, factor))).outcome is Outcome.PASS
    less = 1 + 0.8 * found.requests / candidate.requests
    assert assess(TERMS, Seen(scaled(stable, less), scaled(candidate, less))).outcome is Outcome.INCONCLUSIVE
    assert found.seconds == pytest.approx(10.0 * (factor - 1), rel=0.01)
    assert "more requests" in found.text


def test_harm_that_is_not_shown_yet_is_forecast_as_harm() -> None:
    found = forecast(TERMS, Seen(seen(900), seen(100, Version(error=0.06), seed=3)), 10.0)
    assert found is not None
    assert found.outcome is Outcome.FAIL


def test_a_verdict_that_is_there_needs_nothing_more() -> None:
    found = forecast(TERMS, Seen(seen(40_000), seen(8_000)), 60.0)
    assert found is not None
    assert (found.outcome, found.requests, found.seconds) == (Outcome.PASS, 0, 0.0)


@pytest.mark.parametrize(("stable", "candidate"), [(900, 0), (0, 100)])
def test_without_traffic_on_both_sides_nothing_is_forecast(stable: int, candidate: int) -> None:
    assert forecast(TERMS, Seen(seen(stable), seen(candidate)), 10.0) is None


def test_what_never_passes_has_no_forecast() -> None:
    outage = Tally(1000, failed=1000)
    assert forecast(TERMS, Seen(outage, outage), 10.0) is None


def test_a_plan_says_about_how_long_a_rollout_of_an_equal_version_takes() -> None:
    steps = plan(SPEC, seen(2000), 10.0)
    assert [step.weight_percent for step in steps] == [5, 50]
    planned = sum(step.seconds for step in steps if step.seconds is not None)
    runs = [simulate(SPEC, Traffic(), seed) for seed in range(10)]
    assert all(run.rollout.phase is Phase.PROMOTING for run in runs)
    took = sorted(run.seconds for run in runs)[5]
    assert 0.6 * planned < took < 1.7 * planned


def test_a_plan_says_where_traffic_is_too_thin() -> None:
    thin = replace(SPEC, max_step_duration_s=600.0)
    steps = plan(thin, seen(20), 10.0)  # two a second
    assert steps[0].too_long
    assert steps[0].seconds is not None
    assert steps[0].seconds >= 200 / (0.05 * 2.0) * 0.95
    assert "longer than a step may last" in steps[0].text
    assert all(step.seconds is None for step in plan(SPEC, Tally(), 10.0))
    assert "never passes" in plan(SPEC, Tally(), 10.0)[0].text


@given(st.floats(0.0, 50.0), st.integers(0, 500))
def test_scaled_counts_do_not_contradict_themselves_and_keep_their_shape(factor: float, requests: int) -> None:
    tally = seen(requests)
    found = scaled(tally, factor)
    assert found.latency.total == found.answers
    assert all(count >= 0 for count in found.latency.counts.values())
    assert abs(found.requests - factor * tally.requests) <= 2
    if found.answers >= 100:
        assert found.latency.quantile(0.5) == pytest.approx(tally.latency.quantile(0.5), rel=0.1)


METRIC = CustomMetric("queue", "up", at_most=5.0, interval_s=30.0, count=4)


def measured(*values: float | None) -> Seen:
    known = Measurements()
    for number, value in enumerate(values):
        known = known.with_reading(METRIC, Reading(float(number), value, "" if value else "no answer"))
    return Seen(seen(40_000), seen(8_000), measurements={METRIC.name: known})


@pytest.mark.parametrize(
    ("values", "outcome", "seconds"),
    [
        ((), Outcome.PASS, 120.0),
        ((1.0,), Outcome.PASS, 90.0),
        ((1.0,) * 6, Outcome.PASS, 0.0),
        ((*(1.0,) * 6, None), Outcome.PASS, 30.0),
        ((1.0, 9.0), Outcome.FAIL, 0.0),
    ],
)
def test_what_waits_for_measurements_is_forecast_to_take_that_long(
    values: tuple[float | None, ...], outcome: Outcome, seconds: float
) -> None:
    found = forecast(replace(TERMS, metrics=(METRIC,)), measured(*values), 60.0)
    assert found is not None
    assert (found.outcome, found.seconds) == (outcome, seconds)


def test_a_metric_that_is_lost_has_no_forecast() -> None:
    assert forecast(replace(TERMS, metrics=(METRIC,)), measured(*[None] * 6), 60.0) is None


def test_a_step_with_metrics_is_planned_for_their_measurements() -> None:
    plain = plan(SPEC, seen(50_000), 60.0)
    steps = plan(replace(SPEC, metrics=(METRIC,)), seen(50_000), 60.0)
    assert [step.seconds for step in steps] == [max(90.0, step.seconds or 0.0) for step in plain]


def test_what_waits_for_its_memory_to_be_watched_is_forecast_to_take_that_long() -> None:
    required = MemoryTerms(leak_check=LeakCheck.REQUIRE, window_s=900.0)
    found = forecast(replace(TERMS, memory=required), Seen(seen(40_000), seen(8_000)), 60.0)
    assert found is not None
    assert (found.outcome, found.seconds) == (Outcome.PASS, 900.0)
    steps = plan(replace(SPEC, memory=required), seen(50_000), 60.0)
    assert [step.seconds for step in steps] == [900.0, plan(SPEC, seen(50_000), 60.0)[1].seconds]
