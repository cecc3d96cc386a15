"""What the simulated rollouts are summed up to, and the rules of thumb that they are held against."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, mannwhitneyu

from loadtest.rollouts.proportion import confidence_interval
from loadtest.rollouts.rivals import MannWhitney, Threshold
from loadtest.rollouts.scenarios import SAME, WORSE
from loadtest.rollouts.simulation import Simulated, simulate
from loadtest.rollouts.tables import markdown, summarise
from loadtest.rollouts.traffic import Traffic, Version, answered
from services.core.analysis.verdict import Outcome, Verdict
from services.core.counts.histogram import LatencyHistogram
from services.core.counts.tally import Tally
from services.core.rollouts.rollout import Phase, new_rollout

FAIL = Verdict(Outcome.FAIL, ())


def ended(phase: Phase, exposed: int = 100, seconds: int = 10, fallen: frozenset[str] = frozenset()) -> Simulated:
    verdict = FAIL if phase is Phase.ROLLING_BACK else None
    rollout = replace(new_rollout(SAME[0].spec, 1, 0.0), phase=phase, verdict=verdict)
    return Simulated(rollout, exposed, seconds, fallen)


def test_identical_versions_may_be_rolled_back_as_often_as_the_bound_says_and_no_oftener() -> None:
    runs = [ended(Phase.ROLLING_BACK)] + [ended(Phase.PROMOTING, fallen=frozenset({"rule"}))] * 99
    found = summarise(SAME[0], runs, ["rule", "other"])
    assert (found.rollouts, found.rolled_back, found.good, found.bound) == (100, 1, 99, 0.01)
    assert found.rivals == {"rule": 99, "other": 0}
    assert found.kept
    assert not summarise(SAME[0], [*runs, ended(Phase.ROLLING_BACK)], []).kept


def test_a_rollout_whose_time_was_over_showed_no_harm() -> None:
    late = ended(Phase.ROLLING_BACK)
    late = replace(late, rollout=replace(late.rollout, verdict=Verdict(Outcome.INCONCLUSIVE, ())))
    found = summarise(SAME[0], [late], [])
    assert (found.rolled_back, found.expired, found.kept) == (0, 1, True)
    assert not summarise(WORSE[0], [late], []).kept


def test_harm_must_be_found_nearly_always_and_never_be_promoted() -> None:
    found = [ended(Phase.ROLLING_BACK, exposed) for exposed in range(95)]
    assert summarise(WORSE[0], [*found, *[ended(Phase.PROGRESSING)] * 5], []).kept
    assert not summarise(WORSE[0], [*found, *[ended(Phase.PROGRESSING)] * 6], []).kept
    for good in (Phase.PROMOTING, Phase.CONCLUDING):
        assert not summarise(WORSE[0], [*found, *[ended(Phase.PROGRESSING)] * 4, ended(good)], []).kept
    assert summarise(WORSE[0], found, []).exposed == (47, 90)


def test_a_wrong_output_may_cost_one_look_after_it_is_seen_and_no_second() -> None:
    found = [ended(Phase.ROLLING_BACK)] * 99
    assert summarise(WORSE[0], [*found, replace(found[0], looks_late=1)], []).kept
    assert not summarise(WORSE[0], [*found, replace(found[0], looks_late=2)], []).kept


def test_the_table_has_a_row_for_each_scenario_and_says_what_was_not_kept() -> None:
    kept = summarise(SAME[0], [ended(Phase.PROMOTING, fallen=frozenset({"rule"}))] * 10, ["rule"])
    lines = markdown([kept, replace(kept, scenario="bad", rolled_back=5)]).splitlines()
    assert len(lines) == 4
    assert "| 10 (100%) |" in lines[2]
    assert "| 0.0% to 30.8% |" in lines[2]
    assert (lines[2].endswith("| yes |"), lines[3].endswith("| NO |")) == (True, True)
    assert kept.as_json()["kept"] is True


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (0, 1000), (1, 1000), (10, 10), (190, 200), (200, 200)])
def test_the_interval_of_a_share_is_that_of_clopper_and_pearson(successes: int, trials: int) -> None:
    expected = binomtest(successes, trials).proportion_ci(0.95, "exact")
    assert confidence_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize("shift", [1.0, 1.03, 1.1])
def test_the_rank_test_is_that_of_the_statistics_books(shift: float) -> None:
    chance = np.random.default_rng(4)
    stable, candidate = (answered(Version(median_s=0.02 * factor, error=0.0), 400, chance) for factor in (1.0, shift))

    def values(tally: Tally) -> list[int]:
        return [index for index, count in tally.latency.counts.items() for _ in range(count)]

    p = mannwhitneyu(values(candidate), values(stable), alternative="greater", use_continuity=False).pvalue
    assert MannWhitney().rolls_back(0, stable, candidate) == (p < 0.05)


def test_the_threshold_forgets_what_is_older_than_a_minute() -> None:
    rule = Threshold()
    assert rule.rolls_back(0, slow(0.01), slow(0.01, failed=50))
    fallen = [rule.rolls_back(0, slow(0.01), slow(0.01)) for _ in range(60)]
    assert (fallen[0], fallen[-1]) == (True, False)


def slow(seconds: float, requests: int = 100, failed: int = 0) -> Tally:
    latency = LatencyHistogram()
    latency.observe(seconds, requests - failed)
    return Tally(requests, failed, 0, latency)


def test_the_threshold_looks_at_the_last_minute_of_the_step() -> None:
    rule = Threshold()
    assert not rule.rolls_back(0, slow(0.01), slow(0.0115))
    assert rule.rolls_back(0, slow(0.01), slow(0.05))
    assert not rule.rolls_back(1, slow(0.01), slow(0.01)), "another step begins anew"
    assert rule.rolls_back(1, slow(0.01), slow(0.01, failed=10))
    assert not Threshold().rolls_back(0, slow(0.01, 59), slow(0.05, 59)), "too few say nothing"


def test_one_seed_gives_one_rollout() -> None:
    one, other = (simulate(SAME[0].spec, Traffic(), 3) for _ in range(2))
    assert (one.exposed, one.seconds, one.rollout.phase) == (other.exposed, other.seconds, other.rollout.phase)


@pytest.mark.parametrize("name", ["a fifth copied", "2 % of inputs, shadow", "1 % of inputs, shadow"])
def test_wrong_labels_that_leave_the_mix_alone_are_found_on_copies(name: str) -> None:
    scenario = next(one for one in WORSE if one.name.endswith(name))
    for seed in range(5):
        found = simulate(scenario.spec, scenario.traffic, seed, scenario.longest_s)
        assert found.harm_shown
        assert found.rollout.verdict is not None
        assert [one.name for one in found.rollout.verdict.checks if one.outcome is Outcome.FAIL] == ["agreement"]
        assert found.copies > 0


def test_a_shadow_of_an_identical_version_concludes_and_exposes_nobody() -> None:
    scenario = next(one for one in SAME if one.name.endswith("shadow of all requests"))
    found = simulate(scenario.spec, scenario.traffic, 1)
    assert (found.rollout.phase, found.exposed) == (Phase.CONCLUDING, 0)


def test_an_answer_that_is_not_finite_is_rolled_back_at_the_look_that_sees_it() -> None:
    traffic = Traffic(candidate=Version(non_finite=0.001))
    found = [simulate(SAME[0].spec, traffic, seed) for seed in range(5)]
    assert [one.looks_late for one in found] == [0] * 5
    assert max(one.seconds for one in found) > 5, "it was not there from the beginning"
