"""What an analysis found, with every number that it used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What a check or a whole analysis says."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer.

    Attributes:
        name: What was asked, for example ``errors`` or ``p99``.
        outcome: The answer.
        numbers: Every count, estimate, bound and threshold; None where the data allowed none.
        text: The same in plain words.
    """

    name: str
    outcome: Outcome
    numbers: Mapping[str, float | int | None]
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answers to all checks.

    Attributes:
        outcome: Fail if any check failed, else error if any is an error, else pass if all passed, else inconclusive.
        checks: The checks.
    """

    outcome: Outcome
    checks: tuple[Check, ...]

    @property
    def text(self) -> str:
        """The verdict in plain words: the checks that decided it."""
        if self.outcome is Outcome.PASS:
            return "; ".join(check.text for check in self.checks)
        return "; ".join(check.text for check in self.checks if check.outcome is self.outcome)


def verdict_of(checks: tuple[Check, ...]) -> Verdict:
    """Combine checks: absence of proof on any side is never a pass, and what cannot be judged hides no harm."""
    outcomes = {check.outcome for check in checks}
    for decisive in (Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE):
        if decisive in outcomes:
            return Verdict(decisive, checks)
    return Verdict(Outcome.PASS if checks else Outcome.INCONCLUSIVE, checks)
