"""The arithmetic of an overload run."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.overload.arithmetic import lateness_s, quantile, recovery_s, span
from loadtest.overload.experiment import Plan, Run, summary
from loadtest.overload.judgement import judge
from loadtest.overload.plot import draw
from loadtest.overload.report import as_json, markdown
from loadtest.raw_generator import NO_ANSWER, NOT_SENT, Shot
from services.core.slo import Outcome


def answered(due: float, latency_s: float = 0.05, status: int = 200, late_s: float = 0.0) -> Shot:
    return Shot(due, due + late_s, due + latency_s, status)


def test_goodput_counts_what_was_answered_in_time_from_when_it_was_due() -> None:
    shots = [
        answered(1.0, 0.4),
        answered(1.1, 0.6),  # late
        answered(1.2, 0.7, late_s=0.5),  # sent late by the generator: late for the client all the same
        answered(1.3, 0.003, 429, late_s=0.001),
        answered(1.4, 0.003, 503),
        Shot(1.5, 1.5, 3.0, NO_ANSWER),
        Shot(1.6, 1.6, 1.6, NOT_SENT),
        answered(3.0),  # of another span
    ]
    found = span(shots, 1.0, 3.0, 0.5)
    assert (found.offered, found.good, found.refused, found.failed) == (7, 1, 1, 5)
    assert found.goodput == 0.5
    assert found.latency_s == pytest.approx([0.4, 0.6, 0.7])
    assert found.refusal_s == pytest.approx([0.002])
    assert len(lateness_s(shots)) == 7


def test_a_quantile_of_nothing_meets_no_target() -> None:
    assert quantile([], 0.99) == math.inf
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert quantile([1.0, 2.0, 3.0, 4.0], 1.0) == 4.0


def test_recovery_is_when_the_load_is_carried_for_good() -> None:
    def shots(bad_until: float, relapse: tuple[float, float] = (0.0, 0.0)) -> list[Shot]:
        dues = [10 + number / 100 for number in range(1000)]
        return [answered(due, status=429 if due < bad_until or relapse[0] <= due < relapse[1] else 200) for due in dues]

    assert recovery_s(shots(10.0), 10.0, 20.0, 0.5) == 0.0
    # A second of which the first 5 % are refused still counts: 95 % of it are answered.
    assert recovery_s(shots(12.0), 10.0, 20.0, 0.5) == pytest.approx(2.0, abs=0.11)
    assert recovery_s(shots(10.0, (15.0, 16.0)), 10.0, 20.0, 0.5) == pytest.approx(5.7, abs=0.31)
    assert recovery_s(shots(20.0), 10.0, 20.0, 0.5) == math.inf


def load(
    *, good_share: float = 1.0, high_latency_s: float = 0.08, refusal_s: float = 0.002, late_s: float = 0.0
) -> Run:
    """A run of 100/s that Triton carries, 8 s in all: 80/s, 1000/s and 80/s with 2 s each after the lead-in."""
    plan = Plan(2.0, 0.5)
    shots = [answered(number / 80, 0.05) for number in range(400)]
    for number in range(2000):
        due = 5 + number / 1000
        if number % 10 == 0:
            ok = number / 2000 < good_share
            shots.append(answered(due, high_latency_s, 200 if ok else 429, late_s))
        else:
            shots.append(answered(due, refusal_s + late_s, 429, late_s))
    shots += [answered(7 + number / 80, 0.05) for number in range(160)]
    return summary("adaptive", 100.0, shots, plan)


def test_a_run_that_keeps_its_promises_is_met() -> None:
    run = load()
    assert [phase.offered for phase in run.phases] == [160, 2000, 160]
    assert len(run.seconds) == 6
    assert run.recovery_s == 0.0
    judgement = judge(run)
    assert judgement.outcome is Outcome.MET, judgement
    assert judgement.findings[0].found == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("run", "broken"),
    [
        (load(good_share=0.85), "goodput at 10x, of the capacity"),
        (load(high_latency_s=0.13), "p99 of answers at 10x"),
        (load(refusal_s=0.02), "p99 of the time to a refusal"),
        (load(high_latency_s=0.7), "failed or late, of all at 10x"),
        (replace(load(), recovery_s=3.0), "recovery"),
        (replace(load(), recovery_s=math.inf), "recovery"),
    ],
)
def test_each_broken_promise_is_missed(run: Run, broken: str) -> None:
    judgement = judge(run)
    assert judgement.outcome is Outcome.MISSED
    assert broken in [finding.promise for finding in judgement.findings if not finding.met]


def test_a_generator_that_was_late_makes_the_run_void_and_not_missed() -> None:
    judgement = judge(load(late_s=0.02, refusal_s=0.03))
    assert judgement.outcome is Outcome.VOID
    assert "20.0 ms late" in judgement.reasons[0]


def test_without_an_overload_nothing_was_shown() -> None:
    run = load()
    calm = (run.phases[0], run.phases[0], run.phases[2])
    judgement = judge(replace(run, phases=calm))
    assert judgement.outcome is Outcome.VOID
    assert "no overload" in judgement.reasons[0]


def test_the_report_names_every_figure_beside_its_target() -> None:
    run = load(refusal_s=0.02)
    text = markdown([run, replace(run, name="fixed at 64")], judge(run))
    assert "| p99 of the time to a refusal | 20 ms | <= 10 ms | MISSED |" in text
    assert text.count("overload, 10x") == 2
    document = as_json([run], judge(run), {"cores": 2})
    assert document["outcome"] == "missed"
    assert document["runs"][0]["phases"][1]["refused"] == 1800
    assert document["runs"][0]["seconds"][0]["refusal_p99_ms"] is None


def test_a_comparison_whose_generator_was_late_does_not_look_like_a_result() -> None:
    runs = [load(), replace(load(late_s=0.1), name="fixed at 64")]
    assert judge(runs[0]).outcome is Outcome.MET
    assert "- fixed at 64 shows nothing: the generator sent its requests up to 100.0 ms late" in markdown(
        runs, judge(runs[0])
    )
    assert as_json(runs, judge(runs[0]), {})["runs"][1]["void_because"]


def test_the_same_runs_give_the_same_small_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs = [load(), replace(load(good_share=0.3), name="fixed at 64")]
    for name in ("one.svg", "two.svg"):
        draw(runs, tmp_path / name)
    first = (tmp_path / "one.svg").read_bytes()
    assert first == (tmp_path / "two.svg").read_bytes()
    assert len(first) < 100_000
    assert b"fixed at 64" in first
