"""A/B tests in simulation: looked at all the time, they are wrong no more often than was said, and find a lift."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from services.core.analysis.checks.lift import LIFT_PREFIX, lifts, standing, winner_of
from services.core.analysis.lift_bounds import ratio_of
from services.core.analysis.verdict import Outcome, verdict_of
from services.core.rollouts.experiment import Better, Experiment, OutcomeKind, OutcomeSpec
from services.core.rollouts.outcomes import Totals
from services.core.route import Arm

STABLE = 1
CLICKED = OutcomeSpec("clicked")
SPENT = OutcomeSpec("spent", OutcomeKind.VALUE, 0.0, 50.0)
Draw = Callable[[random.Random, float], float]


def run(
    experiment: Experiment, means: dict[int, float], seed: int, *, most: int, looks: int, draw: Draw
) -> tuple[Outcome, int | None, int]:
    """Feed outcomes back until the test is decided; return what was said of whom, and after how many outcomes."""
    rng = random.Random(seed)
    totals = dict.fromkeys(means, Totals())
    arms = tuple(version for version in means if version != STABLE)
    for count in range(1, most + 1):
        for version, mean in means.items():
            value = experiment.outcome.scaled(draw(rng, mean))
            totals[version] = totals[version].with_outcome(value)
        if count % looks == 0:
            verdict = verdict_of(tuple(lifts(experiment, arms, STABLE, totals)))
            if verdict.outcome is Outcome.PASS:
                return verdict.outcome, winner_of(verdict), count
    return Outcome.INCONCLUSIVE, None, most


def click(rng: random.Random, mean: float) -> float:
    return float(rng.random() < mean)


def money(rng: random.Random, mean: float) -> float:
    """Most spend nothing, some spend very different sums."""
    return min(50.0, rng.expovariate(0.2 / mean)) if rng.random() < 0.2 else 0.0


def at_most(rate: float, wrong: int, runs: int) -> bool:
    """Whether so many wrong ones are possible at a true rate: an exact binomial test at 1 in 1,000."""
    more = sum(math.comb(runs, k) * rate**k * (1 - rate) ** (runs - k) for k in range(wrong, runs + 1))
    return more > 0.001


@pytest.mark.parametrize(("outcome", "draw", "mean"), [(CLICKED, click, 0.3), (SPENT, money, 5.0)])
def test_equal_versions_are_hardly_ever_said_to_differ(outcome: OutcomeSpec, draw: Draw, mean: float) -> None:
    # Significance as high as a test can tell from none, and no smallest lift: every claim counts.
    experiment = Experiment(outcome, (Arm(3, 20),), min_lift=0.0, significance=0.2, min_outcomes=1)
    runs, wrong = 60, 0
    for seed in range(runs):
        rng = random.Random(seed)
        totals = {version: Totals() for version in (1, 2, 3)}
        claimed = False
        for count in range(1, 1_001):
            totals = {each: seen.with_outcome(outcome.scaled(draw(rng, mean))) for each, seen in totals.items()}
            if count in {5, 20, 80, 300, 1_000}:
                standings = [standing(experiment, arm, totals[arm], totals[1], 2) for arm in (2, 3)]
                claimed = claimed or any(arm.won or arm.worse for arm in standings)
        wrong += claimed
    assert at_most(experiment.significance, wrong, runs)


@pytest.mark.parametrize(("outcome", "draw", "mean"), [(CLICKED, click, 0.3), (SPENT, money, 5.0)])
def test_the_true_lift_is_within_its_bounds_at_every_look(outcome: OutcomeSpec, draw: Draw, mean: float) -> None:
    runs, wrong, alpha = 40, 0, 0.1
    capped = mean if outcome is CLICKED else 25 * 0.2 * (1 - math.exp(-50 / 25))  # of what is cut off at 50
    other = capped if outcome is CLICKED else 30 * 0.2 * (1 - math.exp(-50 / 30))
    truth = 1.2 if outcome is CLICKED else other / capped
    for seed in range(runs):
        rng = random.Random(1_000 + seed)
        arm = stable = Totals()
        missed = False
        for count in range(1, 1_501):
            arm = arm.with_outcome(outcome.scaled(draw(rng, 1.2 * mean)))
            stable = stable.with_outcome(outcome.scaled(draw(rng, mean)))
            if count in {10, 100, 500, 1_500}:
                ratio = ratio_of(outcome, arm, stable, alpha / 2)
                missed = missed or ratio.low > truth or (ratio.high is not None and ratio.high < truth)
        wrong += missed
    assert at_most(alpha, wrong, runs)


def test_a_lift_of_ten_percent_is_found() -> None:
    experiment = Experiment(CLICKED)
    for seed in range(5):
        outcome, winner, _ = run(experiment, {1: 0.5, 2: 0.55}, seed, most=20_000, looks=500, draw=click)
        assert (outcome, winner) == (Outcome.PASS, 2)


def test_no_lift_is_concluded_without_a_winner() -> None:
    experiment = Experiment(CLICKED, min_lift=0.10)
    for seed in range(5):
        outcome, winner, _ = run(experiment, {1: 0.5, 2: 0.5}, seed, most=20_000, looks=500, draw=click)
        assert (outcome, winner) == (Outcome.PASS, None)


def test_of_two_further_arms_the_better_one_wins() -> None:
    experiment = Experiment(CLICKED, (Arm(3, 20), Arm(4, 20)))
    for seed in range(3):
        means = {1: 0.4, 2: 0.4, 3: 0.38, 4: 0.46}
        outcome, winner, _ = run(experiment, means, seed, most=40_000, looks=1_000, draw=click)
        assert (outcome, winner) == (Outcome.PASS, 4)


def test_less_is_better_where_the_experiment_says_so() -> None:
    complained = OutcomeSpec("complained", better=Better.LOWER)
    for means, expected in (({1: 0.5, 2: 0.4}, 2), ({1: 0.4, 2: 0.5}, None)):
        outcome, winner, _ = run(Experiment(complained), means, 1, most=20_000, looks=500, draw=click)
        assert (outcome, winner) == (Outcome.PASS, expected)


def test_a_significant_lift_that_is_too_small_wins_nothing() -> None:
    experiment = Experiment(CLICKED, min_lift=0.10)
    stable, arm = Totals(1_000_000, 500_000.0, 250_000.0), Totals(1_000_000, 515_000.0, 250_000.0)
    seen = standing(experiment, 2, arm, stable, 1)
    assert seen.p_value < 1e-10
    assert not seen.won
    assert seen.hopeless


def test_silence_is_never_a_verdict() -> None:
    experiment = Experiment(CLICKED, min_outcomes=100)
    plenty = Totals(1_000, 900.0, 90.0)
    for outcomes in ({}, {1: plenty}, {2: plenty}, {1: Totals(99, 0.0, 1.0), 2: plenty}):
        verdict = verdict_of(tuple(lifts(experiment, (2,), STABLE, outcomes)))
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert winner_of(verdict) is None


def test_an_outcome_with_little_variance_needs_fewer() -> None:
    """What the empirical bounds are for: values far from both ends of a wide scale."""
    rating = OutcomeSpec("rating", OutcomeKind.VALUE, 0.0, 100.0)
    stable = arm = Totals()
    rng = random.Random(7)
    for _ in range(2_000):
        stable = stable.with_outcome(rating.scaled(50 + rng.uniform(-2, 2)))
        arm = arm.with_outcome(rating.scaled(52 + rng.uniform(-2, 2)))
    assert standing(Experiment(rating), 2, arm, stable, 1).won
    shares = (Totals(2_000, float(round(each.total))) for each in (arm, stable))
    as_shares = ratio_of(OutcomeSpec("as-if"), *shares, 0.025)
    assert as_shares.low < 1


def test_a_check_has_every_number() -> None:
    [check] = lifts(Experiment(CLICKED), (2,), STABLE, {1: Totals(400, 100.0, 75.0), 2: Totals(400, 200.0, 100.0)})
    assert check.name == f"{LIFT_PREFIX}2"
    assert check.numbers["outcomes"] == 400
    assert check.numbers["lift"] == pytest.approx(1.0)
    assert check.numbers["winner"] == 1
    low, high = check.numbers["lift_low"], check.numbers["lift_high"]
    assert low is not None
    assert high is not None
    assert 0 < low < 1 < high


def test_a_mean_of_zero_can_be_beaten() -> None:
    zero, many = Totals(500, 0.0, 0.5), Totals(500, 100.0, 80.0)
    for base, expected in ((zero, True), (many, False)):
        verdict = verdict_of(tuple(lifts(Experiment(CLICKED), (2,), STABLE, {1: base, 2: many})))
        assert (winner_of(verdict) == 2) is expected
    assert winner_of(verdict_of(tuple(lifts(Experiment(CLICKED), (2,), STABLE, {1: zero, 2: zero})))) is None
