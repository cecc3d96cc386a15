"""What is shown of stable beside candidate. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.controller.dashboard import words
from services.core.analysis import bounds
from services.core.counts.tally import Tally

# One-sided, each: together the interval is missed with a probability of 5 % at most, over the whole step.
_ALPHA = 0.025
_P99 = 0.99


@dataclass(frozen=True, slots=True)
class Cell:
    """A value and what bounds it."""

    value: str
    bounds: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One measure of both versions."""

    label: str
    stable: Cell
    candidate: Cell
    hint: str = ""


def rows(stable: Tally, candidate: Tally, rates: tuple[float, float] | None) -> tuple[Row, ...]:
    """Return the measures of a step.

    Args:
        stable: What stable answered.
        candidate: What the candidate answered.
        rates: Requests per second of both over the last minute, where they are known.
    """
    of_stable, of_candidate = rates if rates is not None else (None, None)

    def row(label: str, cell: Callable[[Tally], Cell], hint: str = "") -> Row:
        return Row(label, cell(stable), cell(candidate), hint)

    return (
        row("Requests", lambda tally: Cell(words.count(tally.requests))),
        Row("Request rate", Cell(words.rate(of_stable)), Cell(words.rate(of_candidate)), "last minute"),
        row("Bad answers", bad_answers, "failed or not finite"),
        row("Failed", lambda tally: Cell(words.count(tally.failed))),
        row("Not finite", lambda tally: Cell(words.count(tally.non_finite)), "NaN or infinity"),
        row("p50 latency", lambda tally: Cell(words.milliseconds(tally.latency.quantile(0.50)))),
        row("p95 latency", lambda tally: Cell(words.milliseconds(tally.latency.quantile(0.95)))),
        row("p99 latency", p99),
        row("Timed requests", lambda tally: Cell(words.count(tally.latency.total)), "behind p50, p95, p99"),
        row("Given up", lambda tally: Cell(words.count(tally.unanswered)), "by clients, and timed until then"),
    )


def bad_answers(tally: Tally) -> Cell:
    """Return the share of failed and not finite answers with its bounds."""
    if not tally.requests:
        return Cell(words.NOTHING)
    low = bounds.lower_share(tally.bad, tally.requests, _ALPHA)
    high = bounds.upper_share(tally.bad, tally.requests, _ALPHA)
    return Cell(words.percent(tally.bad / tally.requests), f"{words.percent(low)} to {words.percent(high)}")


def p99(tally: Tally) -> Cell:
    """Return the 99th percentile of the latencies with its bounds."""
    estimate, n = tally.latency.quantile(_P99), tally.latency.total
    if estimate is None:
        return Cell(words.NOTHING)
    below = bounds.rank_below_quantile(n, _P99, _ALPHA)
    above = bounds.rank_above_quantile(n, _P99, _ALPHA)
    at = tally.latency.at_rank
    low = None if below is None else words.milliseconds(at(below))
    high = None if above is None else words.milliseconds(at(above))
    both = f"{low} to {high}" if low and high else None
    return Cell(words.milliseconds(estimate), both or (f"at least {low}" if low else "no bounds yet"))
