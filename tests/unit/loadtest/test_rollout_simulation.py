"""What the simulated rollouts are summed up to, and the rules of thumb that they are held against."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from loadtest.rollouts.rivals import MannWhitney, Threshold
from loadtest.rollouts.scenarios import SAME, WORSE
from loadtest.rollouts.simulation import Simulated, simulate
from loadtest.rollouts.tables import Summary, markdown, summarise
from loadtest.rollouts.traffic import Traffic, Version, answered
from services.core.histogram import LatencyHistogram
from services.core.rollout import Phase, new_rollout
from services.core.tally import Tally


def ended(phase: Phase, exposed: int = 100, seconds: int = 10, fallen: frozenset[str] = frozenset()) -> Simulated:
    return Simulated(replace(new_rollout(SAME[0].spec, 1, 0.0), phase=phase), exposed, seconds, fallen)


def test_identical_versions_may_be_rolled_back_as_often_as_the_bound_says_and_no_oftener() -> None:
    runs = [ended(Phase.ROLLING_BACK)] + [ended(Phase.PROMOTING, fallen=frozenset({"rule"}))] * 99
    found = summarise(SAME[0], runs, ["rule", "other"])
    assert (found.rollouts, found.rolled_back, found.promoted, found.bound) == (100, 1, 99, 0.01)
    assert found.rivals == {"rule": 99, "other": 0}
    assert found.kept
    assert not summarise(SAME[0], [*runs, ended(Phase.ROLLING_BACK)], []).kept


def test_harm_must_be_found_nearly_always_and_never_be_promoted() -> None:
    found = [ended(Phase.ROLLING_BACK, exposed) for exposed in range(95)]
    assert summarise(WORSE[0], [*found, *[ended(Phase.PROGRESSING)] * 5], []).kept
    assert not summarise(WORSE[0], [*found, *[ended(Phase.PROGRESSING)] * 6], []).kept
    assert not summarise(WORSE[0], [*found, *[ended(Phase.PROGRESSING)] * 4, ended(Phase.PROMOTING)], []).kept
    assert summarise(WORSE[0], found, []).exposed == (47, 90)


def test_the_table_has_a_row_for_each_scenario_and_says_what_was_not_kept() -> None:
    kept = Summary("good", False, 10, 0, 10, 0.01, {"rule": 7}, (1, 2), (3, 4))
    lines = markdown([kept, replace(kept, scenario="bad", rolled_back=5)]).splitlines()
    assert len(lines) == 4
    assert "| 7 (70%) |" in lines[2]
    assert (lines[2].endswith("| yes |"), lines[3].endswith("| NO |")) == (True, True)
    assert kept.as_json()["kept"] is True


@pytest.mark.parametrize("shift", [1.0, 1.03, 1.1])
def test_the_rank_test_is_that_of_the_statistics_books(shift: float) -> None:
    chance = np.random.default_rng(4)
    stable, candidate = (answered(Version(median_s=0.02 * factor, error=0.0), 400, chance) for factor in (1.0, shift))

    def values(tally: Tally) -> list[int]:
        return [index for index, count in tally.latency.counts.items() for _ in range(count)]

    p = mannwhitneyu(values(candidate), values(stable), alternative="greater", use_continuity=False).pvalue
    assert MannWhitney().rolls_back(0, stable, candidate) == (p < 0.05)


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
