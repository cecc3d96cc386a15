"""A comparison of the distributions of confidences, and of the values of numeric outputs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate

from services.core.analysis import bounds, population_stability
from services.core.analysis.checks.draws import on_one_side, sum_of_squares
from services.core.analysis.checks.sides import Numbers, Sides
from services.core.analysis.verdict import Check, Outcome
from services.core.counts.value_histogram import BIN_COUNT, ValueHistogram


def drift(sides: Sides, what: str, max_shift: float) -> Check:
    """Is what the candidate answers distributed otherwise than what stable answers, on the same kind of requests?

    The distance is Kolmogorov's and Smirnov's beyond one bin: the largest share of answers that one version has moved
    past a value by more than the width of a bin. So two versions that differ by rounding alone are no distance apart,
    also where all answers are the same number. Every bound holds at all times at once, whatever the distributions and
    however unequal the batches.

    Args:
        sides: The two versions.
        what: Kind and output, a key of ``Tally.values``.
        max_shift: Allowed distance, 0 to 1.
    """
    name = f"drift:{what}"
    none = ValueHistogram()
    mine, theirs = sides.candidate.values.get(what, none), sides.stable.values.get(what, none)
    rows, stable_rows = mine.rows, theirs.rows
    numbers: Numbers = {
        "candidate_rows": rows,
        "stable_rows": stable_rows,
        "max_score_shift": max_shift,
        "alpha": sides.alpha,
    }
    kind, _, output = what.partition(":")
    subject = f"{kind} of {output}"
    squares = sum_of_squares(mine, sides.candidate.answers)
    stable_squares = sum_of_squares(theirs, sides.stable.answers)
    draws, stable_draws = rows**2 / max(1.0, squares), stable_rows**2 / max(1.0, stable_squares)
    if not rows or not stable_rows:
        return on_one_side(name, subject, numbers, sides, draws=(draws, stable_draws), max_shift=max_shift)
    distance = _distance(mine.counts, theirs.counts)
    deviation = bounds.distribution_deviation(rows, squares, BIN_COUNT - 1, sides.alpha)
    deviation += bounds.distribution_deviation(stable_rows, stable_squares, BIN_COUNT - 1, sides.alpha)
    shown = max(0.0, distance - deviation)
    groups = population_stability.by_deciles(theirs.counts, mine.counts)
    psi = population_stability.stability_index(*groups)
    chance = population_stability.by_chance(len(groups[0]), stable_draws, draws)
    numbers |= {
        "candidate_draws": draws,
        "stable_draws": stable_draws,
        "distance": distance,
        "deviation": deviation,
        "distance_lower": shown,
        "psi": psi,
        "psi_by_chance": chance,
    }
    text = (
        f"{subject}: KS distance {distance:.3f} (surely at least {shown:.3f}), allowed {max_shift:.3f}; "
        f"{population_stability.in_words(psi, chance)}"
    )
    if shown > max_shift:
        return Check(name, Outcome.FAIL, numbers, text)
    return Check(name, Outcome.PASS if distance <= max_shift else Outcome.INCONCLUSIVE, numbers, text)


def _distance(left: Mapping[int, int], right: Mapping[int, int]) -> float:
    return max(0.0, _ahead(left, right), _ahead(right, left))


def _ahead(lower: Mapping[int, int], higher: Mapping[int, int]) -> float:
    """Return the largest share by which one side has more up to a bin than the other up to the bin after it."""
    bins, their_bins = sorted(lower), sorted(higher)
    seen = [0, *accumulate(higher[index] for index in their_bins)]
    total, their_total = sum(lower.values()), seen[-1]
    reached = accumulate(lower[index] for index in bins)
    return max(
        mine / total - seen[bisect_right(their_bins, index + 1)] / their_total
        for index, mine in zip(bins, reached, strict=True)
    )
