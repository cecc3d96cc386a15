"""What live rollouts are summed up to, and the models behind them."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtest.live_rollouts.candidates import DIFFERENT, PACE, SAME, WORSE, plan
from loadtest.live_rollouts.experiment import LiveRun, OddAnswers, ended
from loadtest.live_rollouts.tables import markdown, summarise
from loadtest.selftest.faulty_model import MODEL, Fault, publish
from services.controller.api.rest_models import RolloutModel
from services.core.errors import PenstockError

ERRORS = next(one for one in WORSE if one.check == "errors")
RUN = LiveRun(ERRORS.name, 2, "rolled_back", ("errors",), "", 900, 40, 12.0, None, None)


def test_kinds_are_mixed_so_that_none_has_a_time_of_its_own() -> None:
    names = [one.name for one in plan(3, 2, 1)]
    assert len(names) == 3 + 2 * len(WORSE) + 1
    assert names[: len(WORSE) + 2] == [SAME.name, *(one.name for one in WORSE), DIFFERENT.name]
    assert names[-1] == SAME.name
    assert {one.check for one in plan(1, 2, 0, ("p99", "memory"))} == {"", "p99", "memory"}


@pytest.mark.parametrize("candidate", [SAME, *WORSE, DIFFERENT])
def test_the_controller_takes_what_is_asked_of_it(candidate: Any) -> None:
    spec = RolloutModel(model=MODEL, **{k: v for k, v in candidate.body(2, 600.0).items() if k != "actor"})
    assert spec.analysis.config().max_p99_ratio < 1.2, "a fifth more is beyond what is tolerated"
    assert spec.analysis.config().false_rollback_bound == 0.01


def test_one_harm_missed_or_found_by_another_check_is_not_kept() -> None:
    assert summarise(ERRORS, [RUN] * 10).kept
    for other in (
        replace(RUN, phase="promoted", failed=()),
        replace(RUN, failed=()),
        replace(RUN, failed=("p99",)),
        replace(RUN, looks_late=2),
    ):
        assert not summarise(ERRORS, [*[RUN] * 9, other]).kept


def test_one_good_candidate_of_twenty_rolled_back_is_more_than_one_percent_but_one_without_a_verdict_is_none() -> None:
    good = replace(RUN, candidate=SAME.name, phase="promoted", failed=())
    assert summarise(SAME, [good] * 20).kept
    assert summarise(SAME, [*[good] * 19, replace(good, phase="rolled_back")]).kept
    assert not summarise(SAME, [*[good] * 19, replace(good, phase="rolled_back", failed=("p99",))]).kept


def test_the_table_names_phases_and_what_was_not_kept() -> None:
    kinds = [summarise(ERRORS, [RUN] * 10), summarise(ERRORS, [replace(RUN, phase="promoted", failed=())])]
    lines = markdown(kinds).splitlines()
    assert "| 10 | 10 | 69.2% to 100.0% | 10 rolled_back | 900 (p95 900) |" in lines[2]
    assert (lines[2].endswith("| yes |"), lines[3].endswith("| NO |")) == (True, True)


def line(at: float, target: str, requests: int | None = None, outcome: str = "") -> dict[str, Any]:
    """One line of a history, as the controller gives it."""
    judged = None if requests is None else {"candidate": {"requests": requests}}
    checks = [
        {"name": "finite", "outcome": outcome, "numbers": {"candidate_non_finite": 1}},
        {"name": "agreement", "outcome": "inconclusive", "numbers": {"pairs": 70}},
    ]
    return {"at": at, "target": target, "judged": judged, "verdict": None if judged is None else {"checks": checks}}


def test_a_run_counts_from_the_first_weight_to_the_decision() -> None:
    odd = OddAnswers()
    odd.note_metrics('penstock_non_finite_answers_total{model="m",version="9"} 4.0\n', 2, 108.5)
    odd.note_metrics('penstock_non_finite_answers_total{model="m",version="2"} 1.0\n', 2, 109.0)
    history = [line(90.0, "warming"), line(100.0, "progressing"), line(110.0, "rolling_back", 500, "fail")]
    run = ended(SAME, 2, {"phase": "rolled_back", "reason": "because"}, [*history, line(112.0, "rolled_back")], odd)
    assert (run.seconds, run.exposed, run.copies, run.failed) == (10.0, 500, 70, ("finite",))
    assert (run.looks_late, run.reaction_s) == (0, 1.5)


def test_an_odd_copy_is_seen_like_an_odd_answer_and_one_that_both_gave_is_not() -> None:
    odd = OddAnswers()
    pair = 'penstock_mirror_non_finite_pairs_total{{model="m",version="1",mirrored="2",output="y",where="{}"}} 3.0\n'
    odd.note_metrics(pair.format("both"), 2, 100.0)
    assert (odd.seen, odd.unseen_at) == (False, 100.0)
    odd.note_metrics(pair.format("copy"), 2, 101.0)
    assert (odd.seen, odd.unseen_at) == (True, 100.0)
    numbers = {"candidate_non_finite": 0, "pairs_odd": 1}
    state = {"checks": [{"name": "finite", "numbers": numbers}], "text": "it goes on"}
    odd.note_rollout({"phase": "progressing", "verdict": state})
    assert odd.looks_late == 1


def test_a_rollout_that_was_never_judged_is_no_result() -> None:
    with pytest.raises(PenstockError, match="no verdict"):
        ended(SAME, 2, {"phase": "failed", "reason": "does not load"}, [line(1.0, "failed")], OddAnswers())


def test_a_verdict_that_saw_an_odd_answer_and_went_on_is_late() -> None:
    def state(phase: str, count: int, text: str) -> dict[str, Any]:
        checks = [{"name": "finite", "numbers": {"candidate_non_finite": count}}]
        return {"phase": phase, "verdict": {"checks": checks, "text": text}}

    odd = OddAnswers()
    odd.note_rollout({"phase": "progressing", "verdict": None})
    odd.note_rollout(state("progressing", 0, "good"))
    odd.note_rollout(state("rolling_back", 1, "bad"))
    assert odd.looks_late == 0
    for _ in range(2):
        odd.note_rollout(state("progressing", 1, "bad"))
    assert odd.looks_late == 1


def test_a_longer_tail_leaves_the_median_and_the_instances_as_they_are(tmp_path: Path) -> None:
    publish(tmp_path, 1, pace=PACE)
    publish(tmp_path, 2, Fault(longer_tail=1.2), PACE)
    assert f"count: {PACE.instances}" in (tmp_path / MODEL / "config.pbtxt").read_text()
    found = []
    for version in ("1", "2"):
        code = (tmp_path / MODEL / version / "model.py").read_text()
        assert "MEDIAN_S, SIGMA" in code
        numbers = next(line for line in code.splitlines() if line.startswith("MEDIAN_S, SIGMA")).split(" = ")[1]
        found.append([float(number) for number in numbers.split(",")])
    (median_s, sigma), (other_s, longer) = found
    assert median_s == other_s == PACE.median_s
    assert math.exp(2.3263 * (longer - sigma)) == pytest.approx(1.2)
