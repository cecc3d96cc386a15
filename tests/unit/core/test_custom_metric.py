"""Metrics of somebody else's: silence, NaN and errors never pass, and Argo's limits mean what they mean there."""

import math
from dataclasses import replace

import pytest

from services.core.analysis.assessment import Terms, assess
from services.core.analysis.verdict import Outcome
from services.core.errors import InvalidRequest
from services.core.rollouts.custom_metric import CustomMetric, Measurements, Reading, check_metric
from services.core.rollouts.event import Event, EventKind
from services.core.rollouts.evidence import Evidence, Seen
from services.core.rollouts.judgement import judge
from services.core.rollouts.rollout import Phase, Rollout, new_rollout
from services.core.rollouts.rollout_spec import AnalysisConfig, OnInconclusive, RolloutSpec, Step
from services.core.rollouts.transitions import advance

MEMORY = CustomMetric("memory", "m", at_most=10.0, count=2, failure_limit=1, consecutive_error_limit=2)


def seen(*values: float | None) -> Measurements:
    found = Measurements()
    for at, value in enumerate(values, 1):
        found = found.with_reading(MEMORY, Reading(float(at), value, "" if value is not None else "gone"))
    return found


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ([], Outcome.INCONCLUSIVE),
        ([1.0], Outcome.INCONCLUSIVE),
        ([1.0, 2.0], Outcome.PASS),
        ([1.0, 10.0], Outcome.PASS),
        ([1.0, 2.0, 11.0], Outcome.PASS),  # one bad measurement is tolerated
        ([1.0, 2.0, 11.0, 11.0], Outcome.FAIL),
        ([1.0, 2.0, None], Outcome.INCONCLUSIVE),  # the last one says nothing
        ([1.0, 2.0, math.nan], Outcome.INCONCLUSIVE),
        ([1.0, 2.0, math.inf], Outcome.INCONCLUSIVE),
        ([None, None, None], Outcome.ERROR),
        ([None, None, 1.0, None, None, 1.0], Outcome.PASS),  # not in a row
        ([math.nan] * 3, Outcome.ERROR),
    ],
)
def test_a_metric_passes_on_good_measurements_alone(values: list[float | None], outcome: Outcome) -> None:
    check = check_metric(MEMORY, seen(*values))
    assert check.outcome is outcome, check.text
    assert check.name == "metric:memory"


def test_a_check_says_what_was_measured_and_what_is_missing() -> None:
    text = check_metric(replace(MEMORY, at_least=1.0), seen(2.0, None)).text
    assert "1 good and 0 bad measurements (last 2), at least 1 and at most 10 is good" in text
    assert "the last 1 without a value: gone" in text


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "Memory"}, "lower-case"),
        ({"query": "  "}, "1 to 4,096"),
        ({"query": "up{version='{{verson}}'}"}, "place for verson"),
        ({"at_most": None}, "everything would be good"),
        ({"at_most": math.nan}, "finite"),
        ({"at_least": 11.0}, "nothing would be good"),
        ({"interval_s": 0.0}, "interval_s"),
        ({"count": 0}, "count"),
        ({"failure_limit": -1}, "failure_limit"),
        ({"consecutive_error_limit": -1}, "consecutive_error_limit"),
    ],
)
def test_a_metric_that_makes_no_sense_is_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        replace(MEMORY, **wrong)  # type: ignore[arg-type]


def test_the_rollouts_names_are_put_into_the_query_and_cannot_leave_their_string() -> None:
    metric = replace(MEMORY, query='x{model="{{ model }}",version="{{candidate}}"} / y{v="{{stable}}"}')
    assert metric.query_for('a"b\\', 1, 2) == 'x{model="a\\"b\\\\",version="2"} / y{v="1"}'


def test_a_measurement_that_is_known_is_not_counted_twice() -> None:
    evidence = Evidence().measured(MEMORY, Reading(5.0, 1.0))
    assert evidence.measured(MEMORY, Reading(5.0, 1.0)) is evidence
    assert evidence.measured(MEMORY, Reading(6.0, 1.0)).measurements["memory"].good == 2
    assert evidence.next_step().measurements == {}


def test_a_step_with_a_metric_never_measured_does_not_pass() -> None:
    terms = Terms(AnalysisConfig(), 50, 1, 1, final=False, metrics=(MEMORY,))
    check = next(one for one in assess(terms, Seen()).checks if one.name == "metric:memory")
    assert check.outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("policy", "phase"), [(OnInconclusive.ABORT, Phase.ROLLING_BACK), (OnInconclusive.PAUSE, Phase.PAUSED)]
)
def test_a_metric_that_is_lost_ends_the_step_as_was_asked_for(policy: OnInconclusive, phase: Phase) -> None:
    spec = RolloutSpec("m", 2, steps=(Step(50, 1, 1),), metrics=(MEMORY,), on_inconclusive=policy)
    rollout: Rollout = replace(
        new_rollout(spec, 1, 0.0),
        phase=Phase.PROGRESSING,
        evidence=Evidence(measurements={"memory": seen(*[None] * 3)}),
    )
    event = judge(rollout, 1.0)
    assert event is not None
    after, _ = advance(rollout, event, 1.0)
    assert after.phase is phase
    assert "cannot be judged" in after.reason
    assert "gone" in after.reason
    if phase is Phase.PAUSED:
        resumed, _ = advance(after, Event(EventKind.RESUME, "ada"), 2.0)
        assert resumed.phase is Phase.PROGRESSING


def test_a_bad_metric_rolls_back_also_in_a_pause() -> None:
    spec = RolloutSpec("m", 2, steps=(Step(50, 1, 1),), metrics=(MEMORY,))
    bad = Evidence(measurements={"memory": seen(11.0, 11.0)})
    for phase in (Phase.PROGRESSING, Phase.PAUSED):
        rollout = replace(new_rollout(spec, 1, 0.0), phase=phase, evidence=bad)
        event = judge(rollout, 1.0)
        assert event is not None
        assert advance(rollout, event, 1.0)[0].phase is Phase.ROLLING_BACK


def test_metrics_have_names_of_their_own() -> None:
    with pytest.raises(InvalidRequest, match="a name of its own"):
        RolloutSpec("m", 2, metrics=(MEMORY, MEMORY))
