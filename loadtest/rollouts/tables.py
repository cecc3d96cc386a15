"""What many simulated rollouts of one scenario came to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loadtest.rollouts.scenarios import Scenario
from loadtest.rollouts.simulation import Simulated
from services.core.rollout import Phase

LEAST_DETECTED = 0.95


@dataclass(frozen=True, slots=True)
class Summary:
    """One scenario's outcome.

    Attributes:
        scenario: Its name.
        harmful: Whether the candidate was to be rolled back.
        rollouts: How many.
        rolled_back: How many were rolled back because harm was shown.
        promoted: How many were promoted.
        bound: Highest share that may be rolled back, or for harm the lowest.
        rivals: How many each rival would have rolled back.
        exposed: Median and 95th percentile of the requests that the candidate answered until its fate was decided.
        seconds: The same of the time.
    """

    scenario: str
    harmful: bool
    rollouts: int
    rolled_back: int
    promoted: int
    bound: float
    rivals: dict[str, int]
    exposed: tuple[int, int]
    seconds: tuple[int, int]

    @property
    def kept(self) -> bool:
        """Whether what is promised was kept."""
        share = self.rolled_back / self.rollouts
        return share >= self.bound and not self.promoted if self.harmful else share <= self.bound

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "kept": self.kept}


def summarise(scenario: Scenario, runs: Sequence[Simulated], rivals: Sequence[str]) -> Summary:
    """Return what the rollouts of a scenario came to."""
    phases = Counter(run.rollout.phase for run in runs)
    fallen = Counter(name for run in runs for name in run.rolled_back_by)
    return Summary(
        scenario=scenario.name,
        harmful=scenario.harmful,
        rollouts=len(runs),
        rolled_back=phases[Phase.ROLLING_BACK],
        promoted=phases[Phase.PROMOTING],
        bound=LEAST_DETECTED if scenario.harmful else scenario.spec.analysis.false_rollback_bound,
        rivals={name: fallen[name] for name in rivals},
        exposed=_typical([run.exposed for run in runs]),
        seconds=_typical([run.seconds for run in runs]),
    )


def markdown(summaries: Sequence[Summary]) -> str:
    """Return a table for a person."""
    rivals = list(summaries[0].rivals)
    head = ["scenario", "rollouts", "rolled back", "bound", "promoted", *rivals, "requests exposed", "seconds", "kept"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for one in summaries:
        bound = f"{'>=' if one.harmful else '<='} {one.bound:.0%}"
        cells = [one.scenario, one.rollouts, f"{one.rolled_back} ({one.rolled_back / one.rollouts:.1%})", bound]
        cells += [one.promoted, *(f"{one.rivals[name]} ({one.rivals[name] / one.rollouts:.0%})" for name in rivals)]
        cells += [*(f"{low:,} (p95 {high:,})" for low, high in (one.exposed, one.seconds)), "yes" if one.kept else "NO"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _typical(values: Sequence[int]) -> tuple[int, int]:
    ascending = sorted(values)
    return ascending[len(ascending) // 2], ascending[math.ceil(0.95 * len(ascending)) - 1]
