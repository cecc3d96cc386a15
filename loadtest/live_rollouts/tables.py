"""What live rollouts came to, by kind of candidate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loadtest.live_rollouts.candidates import Candidate
from loadtest.live_rollouts.experiment import LiveRun
from loadtest.rollouts.proportion import confidence_interval
from loadtest.rollouts.tables import typical

FALSE_ROLLBACK_BOUND = 0.01
MOST_LOOKS_LATE = 1


@dataclass(frozen=True, slots=True)
class Kind:
    """All rollouts of one kind of candidate.

    Attributes:
        candidate: The kind.
        harmful: Whether it had to be rolled back.
        rollouts: How many.
        rolled_back: How many were rolled back because harm was shown; of harmful ones, by the check that had to.
        phases: How many ended in each phase.
        interval: 95 % Clopper-Pearson interval of the share of ``rolled_back``.
        exposed: Median and 95th percentile of the clients' requests that the candidate answered.
        copies: The same of copies whose answers were compared.
        seconds: The same of whole seconds until the decision.
        looks_late: Most verdicts that had seen an answer that is not finite and went on; None where none was seen.
        reaction_s: Longest time from the last look at the gateway without such an answer to the decision.
    """

    candidate: str
    harmful: bool
    rollouts: int
    rolled_back: int
    phases: dict[str, int]
    interval: tuple[float, float]
    exposed: tuple[int, int]
    copies: tuple[int, int]
    seconds: tuple[int, int]
    looks_late: int | None
    reaction_s: float | None

    @property
    def kept(self) -> bool:
        """Whether all harm was found, and of good candidates no more rolled back than is declared."""
        if not self.harmful:
            return self.rolled_back <= FALSE_ROLLBACK_BOUND * self.rollouts
        return self.rolled_back == self.rollouts and (self.looks_late or 0) <= MOST_LOOKS_LATE

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "kept": self.kept}


def summarise(candidate: Candidate, runs: Sequence[LiveRun]) -> Kind:
    """Return what the rollouts of one kind of candidate came to; at least one."""
    shown = [run for run in runs if run.phase == "rolled_back" and run.failed]
    right = [run for run in shown if candidate.check in run.failed] if candidate.harmful else shown
    late = [run.looks_late for run in runs if run.looks_late is not None]
    reactions = [run.reaction_s for run in runs if run.reaction_s is not None]
    return Kind(
        candidate=candidate.name,
        harmful=candidate.harmful,
        rollouts=len(runs),
        rolled_back=len(right),
        phases=dict(Counter(run.phase for run in runs)),
        interval=confidence_interval(len(right), len(runs)),
        exposed=typical([run.exposed for run in runs]),
        copies=typical([run.copies for run in runs]),
        seconds=typical([round(run.seconds) for run in runs]),
        looks_late=max(late, default=None),
        reaction_s=max(reactions, default=None),
    )


def markdown(kinds: Sequence[Kind]) -> str:
    """Return a table for a person."""
    head = ["candidate", "rollouts", "rolled back for harm", "95 %", "ended", "requests exposed", "copies compared"]
    head += ["seconds", "looks late", "reaction, s", "kept"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for kind in kinds:
        low, high = kind.interval
        ends = ", ".join(f"{count} {phase}" for phase, count in sorted(kind.phases.items()))
        cells: list[object] = [kind.candidate, kind.rollouts, kind.rolled_back, f"{low:.1%} to {high:.1%}", ends]
        cells += [f"{middle:,} (p95 {most:,})" for middle, most in (kind.exposed, kind.copies, kind.seconds)]
        cells += ["-" if value is None else value for value in (kind.looks_late, kind.reaction_s)]
        lines.append(f"| {' | '.join(map(str, [*cells, 'yes' if kind.kept else 'NO']))} |")
    return "\n".join(lines) + "\n"
