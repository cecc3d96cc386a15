"""What became of the answers of one version, as totals of fed-back outcomes: all that a verdict on an A/B test needs.

The deviation is of each outcome from the mean of those before it, because the bounds need one that was known before the
outcome was. It depends on their order, so one process adds them up, in the order in which they are stored.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Totals:
    """Outcomes on a scale from 0 to 1.

    Attributes:
        count: How many.
        total: Their sum.
        deviation: Sum of the squared distances of each from (1/2 + the sum before it) / (1 + how many before it).
    """

    count: int = 0
    total: float = 0.0
    deviation: float = 0.0

    def with_outcome(self, value: float) -> Totals:
        """Return the totals with one more outcome, 0 to 1."""
        expected = (0.5 + self.total) / (1 + self.count)
        return Totals(self.count + 1, self.total + value, self.deviation + (value - expected) ** 2)

    @property
    def mean(self) -> float | None:
        """The mean on the same scale; None without outcomes."""
        return self.total / self.count if self.count else None

    def scaled(self, factor: float) -> Totals:
        """Return about what there would be after that many times as many outcomes of this kind."""
        count = round(factor * self.count)
        share = count / self.count if self.count else 0.0
        return Totals(count, share * self.total, share * self.deviation)
