"""What a check compares, and how sure it must be."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.counts.tally import Tally

Numbers = dict[str, float | int | None]


@dataclass(frozen=True, slots=True)
class Sides:
    """Two versions over the same time.

    Attributes:
        stable: What stable answered.
        candidate: What the candidate answered.
        alpha: Probability with which each one-sided bound that shows harm may ever be wrong.
        beta: The same for each bound that shows that there is none.
        weight: Share of the traffic that the candidate was to get, 0 to 1.
        final: Whether a pass needs proof that there is no harm: promotion follows. Otherwise estimates within the
            tolerance are enough, because the next step will look again.
    """

    stable: Tally
    candidate: Tally
    alpha: float
    beta: float
    weight: float
    final: bool


def percent(share: float) -> str:
    """Return a share for a person."""
    return f"{100 * share:.2f} %"


def milliseconds(seconds: float | None) -> str:
    """Return a duration for a person; None is one that too few observations bound."""
    return "not bounded yet" if seconds is None else f"{1000 * seconds:.2f} ms"
