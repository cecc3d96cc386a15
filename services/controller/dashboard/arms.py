"""The arms of an A/B test: what they answered and what became of it, beside stable's. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.controller.dashboard import words
from services.controller.dashboard.versions import Cell, bad_answers, p99
from services.core.analysis.checks.lift import Standing, standing, winner_of
from services.core.counts.tally import Tally
from services.core.rollouts.experiment import Experiment
from services.core.rollouts.outcomes import Totals
from services.core.rollouts.rollout import Rollout

COLUMNS = ("Share", "Requests", "Bad answers", "p99 latency", "Outcomes", "Mean", "Lift", "p", "Stands")


@dataclass(frozen=True, slots=True)
class ArmRow:
    """One version, with a cell for each of the columns."""

    version: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Arms:
    """All of them.

    Attributes:
        outcome: What is fed back.
        asked: When an arm wins.
        columns: What the cells are.
        rows: Stable first.
    """

    outcome: str
    asked: str
    columns: tuple[str, ...]
    rows: tuple[ArmRow, ...]


def arms_of(rollout: Rollout) -> Arms | None:
    """Return what was seen of each arm and how it stands; None where there is no A/B test."""
    experiment = rollout.spec.experiment
    if experiment is None:
        return None
    shares = (rollout.spec.steps[0].weight_percent, *(arm.weight_percent for arm in experiment.arms))
    seen = rollout.evidence
    tallies = {rollout.stable: seen.stable, rollout.candidate: seen.candidate, **seen.arms}
    requests = sum(tally.requests for tally in tallies.values())

    def row(version: int, share: int, what: Standing | None) -> ArmRow:
        tally, totals = tallies.get(version, Tally()), seen.outcomes.get(version, Totals())
        name = f"{version} (stable)" if version == rollout.stable else str(version)
        return ArmRow(name, (*_seen(tally, requests, share, totals, experiment), *_stands(rollout, experiment, what)))

    rows = [row(rollout.stable, 100 - sum(shares), None)]
    base = seen.outcomes.get(rollout.stable, Totals())
    for version, share in zip(rollout.challengers, shares, strict=True):
        totals = seen.outcomes.get(version, Totals())
        rows.append(row(version, share, standing(experiment, version, totals, base, len(shares))))
    asked = (
        f"{experiment.outcome.better.value} is better; a lift of {words.percent(experiment.min_lift)} or more counts, "
        f"at {words.percent(experiment.significance)} over all arms"
    )
    return Arms(experiment.outcome.name, asked, COLUMNS, tuple(rows))


def _seen(tally: Tally, requests: int, share: int, totals: Totals, experiment: Experiment) -> tuple[Cell, ...]:
    seen = f"seen {words.percent(tally.requests / requests)}" if requests else ""
    mean = words.NOTHING if totals.mean is None else f"{experiment.outcome.raw(totals.mean):.4g}"
    return (
        Cell(f"{share} %", seen),
        Cell(words.count(tally.requests)),
        bad_answers(tally),
        p99(tally),
        Cell(words.count(totals.count)),
        Cell(mean),
    )


def _stands(rollout: Rollout, experiment: Experiment, arm: Standing | None) -> tuple[Cell, Cell, Cell]:
    if arm is None:
        return Cell(words.NOTHING), Cell(words.NOTHING), Cell("baseline")
    bounds = ""
    if arm.low is not None or arm.high is not None:
        low, high = (None if bound is None else words.percent(bound) for bound in (arm.low, arm.high))
        bounds = f"{low or words.NOTHING} to {high or 'any'}"
    p_value = words.NOTHING if arm.lift is None else f"{arm.p_value:.2g}"
    return Cell(words.percent(arm.lift), bounds), Cell(p_value), Cell(_standing_words(rollout, experiment, arm))


def _standing_words(rollout: Rollout, experiment: Experiment, arm: Standing) -> str:
    if winner_of(rollout.verdict) == arm.version:
        return "wins"
    stable = rollout.evidence.outcomes.get(rollout.stable, Totals())
    if min(arm.totals.count, stable.count) < experiment.min_outcomes:
        return f"not yet {words.count(experiment.min_outcomes)} outcomes each"
    if arm.worse:
        return "is worse"
    if arm.hopeless:
        return "no practical lift"
    return "is better so far" if arm.won else "open"
