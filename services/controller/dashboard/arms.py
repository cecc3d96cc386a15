"""The arms of an A/B test: what became of their answers, beside stable's. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.controller.dashboard import words
from services.core.checks.lift import LIFT_PREFIX
from services.core.experiment import Experiment
from services.core.outcomes import Totals
from services.core.rollout import Rollout


@dataclass(frozen=True, slots=True)
class ArmRow:
    """One version: share of the traffic, outcomes, their mean, the lift, its bounds and its p-value."""

    version: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arms:
    """All of them.

    Attributes:
        outcome: What is fed back.
        asked: When an arm wins.
        rows: Stable first.
    """

    outcome: str
    asked: str
    rows: tuple[ArmRow, ...]


def arms_of(rollout: Rollout) -> Arms | None:
    """Return what the last verdict says of each arm; None where there is no A/B test."""
    experiment = rollout.spec.experiment
    if experiment is None:
        return None
    shares = (rollout.spec.steps[0].weight_percent, *(arm.weight_percent for arm in experiment.arms))
    rows = [_stable(rollout, experiment, 100 - sum(shares))]
    for version, share in zip(rollout.challengers, shares, strict=True):
        rows.append(_arm(rollout, experiment, version, share))
    asked = (
        f"{experiment.outcome.better.value} is better; a lift of {words.percent(experiment.min_lift)} or more counts, "
        f"at {words.percent(experiment.significance)} over all arms"
    )
    return Arms(experiment.outcome.name, asked, tuple(rows))


def _stable(rollout: Rollout, experiment: Experiment, share: int) -> ArmRow:
    seen = _seen(rollout, experiment, rollout.stable, share)
    return ArmRow(f"{rollout.stable} (stable)", (*seen, words.NOTHING, words.NOTHING, words.NOTHING))


def _arm(rollout: Rollout, experiment: Experiment, version: int, share: int) -> ArmRow:
    checks = rollout.verdict.checks if rollout.verdict else ()
    numbers = next((check.numbers for check in checks if check.name == f"{LIFT_PREFIX}{version}"), {})
    low, high, p_value = numbers.get("lift_low"), numbers.get("lift_high"), numbers.get("p_value")
    surely = f"{words.percent(low)} to {'any' if high is None else words.percent(high)}"
    return ArmRow(
        f"{version} (wins)" if numbers.get("winner") == 1 else str(version),
        (
            *_seen(rollout, experiment, version, share),
            words.percent(numbers.get("lift")),
            words.NOTHING if low is None else surely,
            words.NOTHING if p_value is None else f"{p_value:.2g}",
        ),
    )


def _seen(rollout: Rollout, experiment: Experiment, version: int, share: int) -> tuple[str, str, str]:
    totals = rollout.evidence.outcomes.get(version, Totals())
    mean = words.NOTHING if totals.mean is None else f"{experiment.outcome.raw(totals.mean):.4g}"
    return f"{share} %", words.count(totals.count), mean
