"""What many simulated rollouts of one scenario came to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loadtest.rollouts.proportion import confidence_interval
from loadtest.rollouts.scenarios import Scenario
from loadtest.rollouts.simulation import Simulated
from services.core.rollouts.rollout import Phase

LEAST_DETECTED = 0.95
MOST_LOOKS_LATE = 1


@dataclass(frozen=True, slots=True)
class Summary:
    """One scenario's outcome.

    Attributes:
        scenario: Its name.
        harmful: Whether the candidate was to be rolled back.
        rollouts: How many.
        rolled_back: How many were rolled back because harm was shown.
        expired: How many were rolled back because a step's longest time was over.
        good: How many were promoted, or concluded as a shadow that found nothing.
        interval: 95 % Clopper-Pearson interval of the share that was rolled back because of harm.
        bound: Highest share that may be rolled back, or for harm the lowest.
        rivals: How many each rival would have rolled back.
        exposed: Median and 95th percentile of the clients' requests that the candidate answered until its fate was
            decided.
        copies: The same of the copies that it got.
        seconds: The same of the time.
        looks_late: Most looks at an answer that is not finite, after the first one, before a rollback; None where there
            was no such answer.
        tolerances: What a candidate was allowed.
    """

    scenario: str
    harmful: bool
    rollouts: int
    rolled_back: int
    expired: int
    good: int
    interval: tuple[float, float]
    bound: float
    rivals: dict[str, int]
    exposed: tuple[int, int]
    copies: tuple[int, int]
    seconds: tuple[int, int]
    looks_late: int | None
    tolerances: str

    @property
    def kept(self) -> bool:
        """Whether what is promised was kept."""
        share = self.rolled_back / self.rollouts
        if not self.harmful:
            return share <= self.bound
        return share >= self.bound and not self.good and (self.looks_late or 0) <= MOST_LOOKS_LATE

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "kept": self.kept}


def summarise(scenario: Scenario, runs: Sequence[Simulated], rivals: Sequence[str]) -> Summary:
    """Return what the rollouts of a scenario came to."""
    phases = Counter(run.rollout.phase for run in runs)
    fallen = Counter(name for run in runs for name in run.rolled_back_by)
    shown = sum(run.harm_shown for run in runs)
    late = [run.looks_late for run in runs if run.looks_late is not None]
    return Summary(
        scenario=scenario.name,
        harmful=scenario.harmful,
        rollouts=len(runs),
        rolled_back=shown,
        expired=phases[Phase.ROLLING_BACK] - shown,
        good=phases[Phase.PROMOTING] + phases[Phase.CONCLUDING],
        interval=confidence_interval(shown, len(runs)),
        bound=LEAST_DETECTED if scenario.harmful else scenario.spec.analysis.false_rollback_bound,
        rivals={name: fallen[name] for name in rivals},
        exposed=typical([run.exposed for run in runs]),
        copies=typical([run.copies for run in runs]),
        seconds=typical([run.seconds for run in runs]),
        looks_late=max(late, default=None),
        tolerances=scenario.tolerances,
    )


def markdown(summaries: Sequence[Summary]) -> str:
    """Return a table for a person."""
    rivals = list(summaries[0].rivals)
    head = [
        "scenario",
        "allowed",
        "rollouts",
        "rolled back for harm",
        "95 %",
        "bound",
        "promoted or concluded",
        "expired",
        *rivals,
    ]
    head += ["requests exposed", "copies", "seconds", "looks late", "kept"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for one in summaries:
        low, high = one.interval
        share = f"{one.rolled_back} ({one.rolled_back / one.rollouts:.1%})"
        cells: list[object] = [one.scenario, one.tolerances, one.rollouts, share]
        cells += [f"{low:.1%} to {high:.1%}", f"{'>=' if one.harmful else '<='} {one.bound:.0%}", one.good, one.expired]
        cells += [f"{one.rivals[name]} ({one.rivals[name] / one.rollouts:.0%})" for name in rivals]
        cells += [f"{middle:,} (p95 {most:,})" for middle, most in (one.exposed, one.copies, one.seconds)]
        cells += ["-" if one.looks_late is None else one.looks_late, "yes" if one.kept else "NO"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def typical(values: Sequence[int]) -> tuple[int, int]:
    """Return the median and the 95th percentile, nearest rank; at least one value."""
    ascending = sorted(values)
    return ascending[len(ascending) // 2], ascending[math.ceil(0.95 * len(ascending)) - 1]
