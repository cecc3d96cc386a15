"""What is on the pages, as pure functions of the state."""

from dataclasses import replace

import pytest
from starlette.datastructures import Headers

from services.controller.dashboard import words
from services.controller.dashboard.mix import mixes_of
from services.controller.dashboard.negotiation import prefers_html
from services.controller.dashboard.shadow import differences_of
from services.controller.dashboard.sparkline import sparklines
from services.controller.dashboard.steps import steps_of, weight_of
from services.controller.dashboard.verb_words import verb_of, verbs_of
from services.controller.dashboard.verdicts import title_of
from services.controller.dashboard.versions import rows
from services.controller.events.trend import Point, Sample
from services.core.counts.histogram import LatencyHistogram
from services.core.counts.tally import Tally
from services.core.rollouts.event import VERBS
from services.core.rollouts.evidence import Evidence
from services.core.rollouts.rollout import Phase, Rollout, new_rollout
from services.core.rollouts.rollout_spec import RolloutSpec

SERVING = {"workers": 3, "acknowledged": 2, "lagging": ["w3"]}


def rollout(phase: Phase, step: int = 0) -> Rollout:
    return replace(new_rollout(RolloutSpec("m", 2), 1, 0.0), phase=phase, step=step)


def tally(requests: int, failed: int = 0, seconds: float = 0.01) -> Tally:
    latency = LatencyHistogram()
    latency.observe(seconds, requests - failed)
    return Tally(requests, failed, 0, latency)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (words.percent(0.0), "0.00 %"),
        (words.percent(0.00042), "0.042 %"),
        (words.percent(0.5), "50.0 %"),
        (words.percent(None), "\N{EN DASH}"),
        (words.milliseconds(0.0123), "12.3 ms"),
        (words.milliseconds(1.5), "1 500 ms"),
        (words.count(1234567), "1 234 567"),
        (words.rate(12.34), "12.3 req/s"),
        (words.duration(0.4), "0.4 s"),
        (words.duration(61), "1 min 1 s"),
        (words.duration(7260), "2 h 1 min"),
        (words.duration(90_000), "1 d 1 h"),
        (words.labelled("candidate_p99_s", 0.0123)[1], "12.3 ms"),
        (words.labelled("max_increase", 0.01)[1], "1.00 %"),
        (words.labelled("alpha", 0.000625)[1], "0.000625"),
        (words.labelled("stable_p99_upper_s", None)[1], "not bounded yet"),
        (words.labelled("max_p99_ratio", 1.5)[1], "1.5"),
    ],
)
def test_numbers_have_units_and_as_many_digits_as_mean_something(text: str, shown: str) -> None:
    assert text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ") == shown


def test_every_phase_and_verb_has_words() -> None:
    assert words.PHASES.keys() == {phase.value for phase in Phase}
    for phase in Phase:
        for verb in verbs_of(rollout(phase)):
            assert verb.consequence
    assert [verb_of(rollout(Phase.PAUSED), verb).label for verb in VERBS] == ["Pause", "Resume", "Promote", "Abort"]
    assert "no verdict on it yet" in verb_of(rollout(Phase.PROGRESSING), VERBS[2]).consequence


@pytest.mark.parametrize(
    ("phase", "step", "states"),
    [
        (Phase.PREPARING, 0, ["ahead", "ahead", "ahead"]),
        (Phase.PROGRESSING, 1, ["done", "current", "ahead"]),
        (Phase.PAUSED, 2, ["done", "done", "current"]),
        (Phase.PROMOTED, 2, ["done", "done", "done"]),
        (Phase.ROLLED_BACK, 1, ["done", "left", "skipped"]),
        (Phase.PROMOTED, 1, ["done", "left", "skipped"]),
        (Phase.ABORTED, 0, ["skipped", "skipped", "skipped"]),
        (Phase.FAILED, 0, ["skipped", "skipped", "skipped"]),
    ],
)
def test_steps_say_what_was_passed_and_what_was_not(phase: Phase, step: int, states: list[str]) -> None:
    assert [view.state for view in steps_of(rollout(phase, step))] == states


def test_the_actual_weight_is_what_was_answered_and_not_what_was_asked_for() -> None:
    seen = replace(rollout(Phase.PROGRESSING, 1), evidence=Evidence(tally(900), tally(100)))
    weight = weight_of(seen, SERVING)
    assert (weight.desired, weight.actual) == (25, 10.0)
    assert weight.workers_words == "2 of 3 gateway workers serve with the present route"
    assert weight.lagging == ("w3",)
    nothing = weight_of(rollout(Phase.PROGRESSING), {"workers": 0, "acknowledged": 0, "lagging": []})
    assert (nothing.actual, nothing.actual_words) == (None, "no requests in this step")


def test_measures_have_bounds_around_their_estimates_and_none_without_data() -> None:
    by_label = {row.label: row for row in rows(tally(5000, 50), tally(200, 2, 0.02), (100.0, 4.0))}
    bad = by_label["Bad answers"]
    assert bad.stable.value.startswith("1.00")
    low, high = (float(part.split("\N{NO-BREAK SPACE}")[0]) for part in bad.stable.bounds.split(" to "))
    assert 0 < low < 1.0 < high < 3.0
    assert by_label["p99 latency"].stable.bounds
    assert by_label["p99 latency"].candidate.bounds.startswith("at least 20")
    assert by_label["Timed requests"].candidate.value == "198"
    [given_up] = [row for row in rows(Tally(), Tally(3, unanswered=2), None) if row.label == "Given up"]
    assert (given_up.stable.value, given_up.candidate.value) == ("0", "2")
    assert {row.candidate.bounds for row in rows(Tally(), Tally(), None)} == {""}


def test_many_classes_are_the_most_frequent_ones_and_the_rest() -> None:
    stable = Tally(100, 0, 0, LatencyHistogram(), {"y": tuple(range(100))})
    candidate = Tally(100, 0, 0, LatencyHistogram(), {"y": (5, 5)})
    [mix] = mixes_of(stable, candidate)
    assert len(mix.bars) == 13
    assert mix.bars[0].label == "class 99"
    assert mix.bars[-1].label == "88 others"
    assert sum(bar.stable for bar in mix.bars) == pytest.approx(100.0)
    assert sum(bar.candidate for bar in mix.bars) == pytest.approx(100.0)
    assert mixes_of(Tally(), Tally()) == ()


def test_a_check_of_one_output_is_called_by_what_it_compares() -> None:
    assert title_of("predictions:scores") == "Mix of classes of scores"
    assert title_of("drift:confidence:scores:0") == "Distribution: confidence of scores:0"
    assert title_of("drift:mean:price") == "Distribution: mean of price"


def test_a_gap_in_the_data_is_a_gap_in_the_line_and_the_picture_is_told_in_words() -> None:
    values = [0.01, 0.02, None, 0.03, 0.04]
    points = [Point(float(at), Sample(10, 0, value), Sample(10, 1, 0.01)) for at, value in enumerate(values)]
    errors, p99 = sparklines(points)
    assert len(p99.stable) == 2
    assert len(p99.candidate) == 1
    assert "candidate is at 10.0" in errors.summary
    for run in (*p99.stable, *errors.candidate):
        for point in run.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 300
            assert 0 <= y <= 60
    assert sparklines(points[:1]) == ()


def test_a_comparison_is_shown_whatever_it_holds_and_nothing_without_one() -> None:
    empty: dict[str, object] = {}
    for nothing in (None, empty, [1], "text", 7):
        assert differences_of(nothing) is None
    found = differences_of(
        {
            "pairs": 1200,
            "differing": 3,
            "agreement": 0.9975,
            "copy": {"p50_s": 0.002, "p99_s": 0.0105},
            "outputs": {
                "logits": {"agree": 99, "absolute": {"p50": 0.001, "max": 0.25}},
                "probs": {"agree": None, "absolute": {"max": [1, 2, 3]}},
            },
            "worst": [{"output": "logits", "max_abs": 3.0}, {"name": "other"}],
            "odd": {"flat": 1, "deep": {"a": [1, 2]}},
            "buckets": [1, 2, 3],
            "empty": {},
        }
    )
    assert found is not None
    numbers = {label: text.replace("\N{NO-BREAK SPACE}", " ") for label, text in found.numbers}
    assert numbers["differing"] == "3"
    assert numbers["agreement"] == "99.8 %"
    assert numbers["copy: p99"] == "10.5 ms"
    outputs, worst, odd = found.tables
    assert outputs.columns == ("agree", "absolute: p50", "absolute: max")
    assert outputs.rows[1] == ("probs", ("not bounded yet", "", "3 values"))
    assert [name for name, _ in worst.rows] == ["logits", "other"]
    assert dict(odd.rows)["flat"] == ("1", "")


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("application/json, text/html", True),
        ("application/json, text/html;q=0.9", False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
        ("text/html;q=x", False),
        ("text/html;q=", False),
        (";;;,,", False),
    ],
)
def test_only_who_asks_for_a_page_by_name_gets_one(accept: str, html: bool) -> None:
    assert prefers_html(Headers({"accept": accept})) is html
