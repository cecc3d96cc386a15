"""Whole rollouts, looked at every second. ``python -m loadtest.rollouts`` runs many more."""

from dataclasses import replace

import pytest

from loadtest.rollouts.rivals import MannWhitney, Threshold
from loadtest.rollouts.scenarios import CONSTANT, DOUBTFUL, NO_TOLERANCE, SHIFTED, SKEWED, SPEC, SURE
from loadtest.rollouts.simulation import simulate
from loadtest.rollouts.traffic import Traffic, Version
from services.core.rollouts.rollout import Phase


def test_looking_every_second_rolls_identical_versions_back_no_more_often_than_the_bound_says() -> None:
    spec, runs = replace(SPEC, analysis=NO_TOLERANCE), 20
    phases = [simulate(spec, Traffic(), seed, longest_s=300).rollout.phase for seed in range(runs)]
    assert phases.count(Phase.ROLLING_BACK) <= NO_TOLERANCE.false_rollback_bound * runs


@pytest.mark.parametrize("version", [Version(), SURE], ids=["classes", "and scores and values"])
def test_identical_versions_are_promoted_step_by_step(version: Version) -> None:
    for seed in range(10):
        rollout = simulate(SPEC, Traffic(stable=version, candidate=version), seed).rollout
        assert (rollout.phase, rollout.step) == (Phase.PROMOTING, 2)


@pytest.mark.parametrize(
    ("traffic", "harmed_at_most"),
    [
        (Traffic(candidate=Version(mix=CONSTANT)), 100),
        (Traffic(stable=Version(mix=SKEWED)), 1000),
        (Traffic(stable=SURE, candidate=DOUBTFUL), 2000),
        (Traffic(candidate=Version(error=0.05)), 1500),
        (Traffic(candidate=Version(median_s=0.040)), 4000),
        (Traffic(candidate=Version(error=1.0)), 60),
    ],
    ids=["one class", "random class", "lower scores", "5 % errors", "twice the latency", "all errors"],
)
def test_damage_is_rolled_back_at_the_first_step(traffic: Traffic, harmed_at_most: int) -> None:
    for seed in range(5):
        found = simulate(SPEC, traffic, seed)
        rollout, harmed = found.rollout, found.exposed
        assert (rollout.phase, rollout.step) == (Phase.ROLLING_BACK, 0)
        assert harmed <= harmed_at_most


def test_a_shifted_output_is_rolled_back_before_it_has_all_traffic() -> None:
    for seed in range(5):
        rollout = simulate(SPEC, Traffic(stable=SURE, candidate=SHIFTED), seed).rollout
        assert rollout.phase is Phase.ROLLING_BACK
        assert "mean of value" in rollout.reason


def test_an_outage_of_everything_never_promotes_and_is_rolled_back_as_inconclusive() -> None:
    spec = replace(SPEC, max_step_duration_s=120)
    rollout = simulate(spec, Traffic(outage_share=1.0), 1).rollout
    assert (rollout.phase, rollout.step) == (Phase.ROLLING_BACK, 0)
    assert "inconclusive" in rollout.reason


def test_bursts_of_failures_that_hit_both_versions_do_not_roll_back() -> None:
    for seed in range(5):
        rollout = simulate(SPEC, Traffic(outage_share=0.05), seed, longest_s=600).rollout
        assert rollout.phase is not Phase.ROLLING_BACK


def test_a_not_finite_answer_is_followed_by_the_rollback_at_the_next_look() -> None:
    for seed in range(5):
        found = simulate(SPEC, Traffic(candidate=Version(non_finite=1.0)), seed)
        assert (found.rollout.phase, found.seconds) == (Phase.ROLLING_BACK, 1)


def test_rules_of_thumb_roll_identical_versions_back() -> None:
    """What the analysis is measured against does what it is known for; else the comparison shows nothing."""
    runs = [simulate(SPEC, Traffic(), seed, rivals=[Threshold(), MannWhitney()]) for seed in range(15)]
    for rival in (Threshold.name, MannWhitney.name):
        assert sum(rival in run.rolled_back_by for run in runs) >= 5
    assert all(run.rollout.phase is Phase.PROMOTING for run in runs)
