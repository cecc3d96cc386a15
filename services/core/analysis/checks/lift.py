"""Comparisons of what became of the answers: has an arm of an A/B test won, or can none?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from services.core.analysis.checks.sides import Numbers, percent
from services.core.analysis.lift_bounds import Ratio, ratio_of
from services.core.analysis.verdict import Check, Outcome, Verdict
from services.core.rollouts.experiment import Better, Experiment
from services.core.rollouts.outcomes import Totals

LIFT_PREFIX = "lift:"
_EMPTY = Totals()


@dataclass(frozen=True, slots=True)
class Standing:
    """How one arm stands.

    Attributes:
        version: The arm.
        totals: What became of its answers.
        ratio: Its mean as a multiple of stable's.
        lift: Improvement of the mean as a share of stable's; None where there is no mean to compare with.
        low: Surely at least; None where nothing bounds it.
        high: Surely at most; None as well.
        p_value: Always valid, for both directions and all arms together.
        won: Whether it is surely better, by the smallest lift that matters or more as far as was seen.
        worse: Whether it is surely worse.
        hopeless: Whether its lift is surely under the smallest that matters.
    """

    version: int
    totals: Totals
    ratio: Ratio
    lift: float | None
    low: float | None
    high: float | None
    p_value: float
    won: bool
    worse: bool
    hopeless: bool

    @property
    def open(self) -> bool:
        """Whether more outcomes may show something."""
        return not (self.won or self.worse or self.hopeless)


def standing(experiment: Experiment, version: int, arm: Totals, stable: Totals, arms: int) -> Standing:
    """Return how an arm stands, one of so many that share the significance."""
    sides = 2 * arms
    ratio = ratio_of(experiment.outcome, arm, stable, experiment.significance / sides)
    enough = math.log(sides / experiment.significance)
    p_value = min(1.0, sides * math.exp(-max(0.0, ratio.log_evidence_above, ratio.log_evidence_below)))
    if experiment.outcome.better is Better.HIGHER:
        lift = None if ratio.estimate is None else ratio.estimate - 1
        low: float | None = ratio.low - 1
        high: float | None = None if ratio.high is None else ratio.high - 1
        for_it, against_it = ratio.log_evidence_above, ratio.log_evidence_below
    else:
        lift = None if ratio.estimate is None else 1 - ratio.estimate
        low, high = None if ratio.high is None else 1 - ratio.high, 1 - ratio.low
        for_it, against_it = ratio.log_evidence_below, ratio.log_evidence_above
    return Standing(
        version,
        arm,
        ratio,
        lift,
        None if lift is None else low,
        None if lift is None else high,
        p_value,
        # Of a mean of 0 every improvement is more than any share.
        won=(lift is None or lift >= experiment.min_lift) and for_it >= enough,
        worse=against_it >= enough,
        hopeless=lift is not None and high is not None and high < experiment.min_lift,
    )


def lifts(
    experiment: Experiment, versions: tuple[int, ...], stable: int, outcomes: Mapping[int, Totals]
) -> list[Check]:
    """Has an arm won, or can none? One check for each arm; all pass once the test is decided.

    It is decided when an arm has won and no arm that is still open looks better, or when each is surely under the
    smallest lift that matters. The significance is shared out over arms and directions, so by the union bound it holds
    for all of them together.

    Args:
        experiment: What was asked.
        versions: The arms.
        stable: The version that they are compared with.
        outcomes: What became of the answers, by version.
    """
    base = outcomes.get(stable, _EMPTY)
    seen = [standing(experiment, each, outcomes.get(each, _EMPTY), base, len(versions)) for each in versions]
    enough = min(each.count for each in (base, *(arm.totals for arm in seen))) >= experiment.min_outcomes
    winner = _winner(seen) if enough else None
    decided = enough and (winner is not None or not any(arm.open or arm.won for arm in seen))
    return [_check(experiment, arm, base, decided=decided, winner=arm is winner) for arm in seen]


def winner_of(verdict: Verdict | None) -> int | None:
    """Return the arm that a verdict says has won; None where it says of none."""
    for check in () if verdict is None else verdict.checks:
        if check.name.startswith(LIFT_PREFIX) and check.numbers.get("winner") == 1:
            return int(check.name.removeprefix(LIFT_PREFIX))
    return None


def _winner(seen: list[Standing]) -> Standing | None:
    won = [arm for arm in seen if arm.won]
    best = max(won, key=_lift, default=None)
    if best is None or any(arm.open and _lift(arm) > _lift(best) for arm in seen):
        return None
    return best


def _lift(arm: Standing) -> float:
    if arm.lift is None:
        return math.inf if arm.won else -math.inf
    return arm.lift


def _check(experiment: Experiment, arm: Standing, base: Totals, *, decided: bool, winner: bool) -> Check:
    outcome = experiment.outcome
    mean, stable_mean = arm.totals.mean, base.mean
    numbers: Numbers = {
        "outcomes": arm.totals.count,
        "mean": None if mean is None else outcome.raw(mean),
        "stable_outcomes": base.count,
        "stable_mean": None if stable_mean is None else outcome.raw(stable_mean),
        "lift": arm.lift,
        "lift_low": arm.low,
        "lift_high": arm.high,
        "p_value": arm.p_value,
        "log_evidence_above": arm.ratio.log_evidence_above,
        "log_evidence_below": arm.ratio.log_evidence_below,
        "min_lift": experiment.min_lift,
        "significance": experiment.significance,
        "min_outcomes": experiment.min_outcomes,
        "winner": int(winner),
    }
    text = f"{outcome.name} of version {arm.version}: {_words(experiment, arm, base)}"
    if winner:
        text += ": it wins"
    elif arm.worse:
        text += ": it is worse"
    elif arm.hopeless:
        text += f": no practical lift (less than {percent(experiment.min_lift)})"
    elif arm.won:
        text += ": it is better, and so may another arm be, or outcomes are missing"
    return Check(f"{LIFT_PREFIX}{arm.version}", Outcome.PASS if decided else Outcome.INCONCLUSIVE, numbers, text)


def _words(experiment: Experiment, arm: Standing, base: Totals) -> str:
    outcome = experiment.outcome
    if arm.totals.mean is None or base.mean is None:
        return (
            f"{arm.totals.count:,} outcomes, and {base.count:,} of stable; {experiment.min_outcomes:,} each are needed"
        )
    words = (
        f"mean {outcome.raw(arm.totals.mean):.4g} of {arm.totals.count:,} outcomes, "
        f"stable {outcome.raw(base.mean):.4g} of {base.count:,}"
    )
    if arm.lift is None:
        return f"{words}; stable's mean is 0, so no share of it tells the lift; p = {arm.p_value:.2g}"
    low, high = (None if bound is None else percent(bound) for bound in (arm.low, arm.high))
    return f"{words}, lift {percent(arm.lift)} (surely {low or '-'} to {high or 'any'}), p = {arm.p_value:.2g}"
