"""A comparison of the mixes of predicted classes."""

from __future__ import annotations

import math

from services.core.analysis import bounds, population_stability
from services.core.analysis.checks.draws import on_one_side, sum_of_squares
from services.core.analysis.checks.sides import Numbers, Sides
from services.core.analysis.verdict import Check, Outcome
from services.core.counts.tally import Tally
from services.core.counts.value_histogram import CONFIDENCE, ValueHistogram


def predictions(sides: Sides, output: str, max_shift: float, *, with_psi: bool) -> Check:
    """Does the candidate predict another mix of classes than stable, on the same kind of requests?

    Two equal versions show some distance by chance alone; its expectation is taken off the estimate before it is held
    against the tolerance, so that a model of a thousand classes can pass at all. The rows of one request may resemble
    each other, so a side is worth as many draws as the squares of its answers' rows say, and never more than it gave
    answers. The population stability index is told with it where asked for.
    """
    name = f"predictions:{output}"
    counts, stable_counts = sides.candidate.predictions.get(output, ()), sides.stable.predictions.get(output, ())
    n, stable_n = sum(counts), sum(stable_counts)
    classes = max(len(counts), len(stable_counts))
    numbers: Numbers = {
        "classes": classes,
        "candidate_predictions": n,
        "stable_predictions": stable_n,
        "max_prediction_shift": max_shift,
        "alpha": sides.alpha,
    }
    draws, stable_draws = _draws(sides.candidate, output, n), _draws(sides.stable, output, stable_n)
    if not n or not stable_n:
        subject = f"mix of predicted classes of {output}"
        return on_one_side(name, subject, numbers, sides, draws=(draws, stable_draws), max_shift=max_shift)
    mine = [counts[i] if i < len(counts) else 0 for i in range(classes)]
    theirs = [stable_counts[i] if i < len(stable_counts) else 0 for i in range(classes)]
    distance = sum(abs(a / n - b / stable_n) for a, b in zip(mine, theirs, strict=True)) / 2
    chance = _distance_by_chance(mine, theirs, draws, stable_draws)
    deviation = bounds.mix_deviation(n, n**2 / draws, classes, sides.alpha)
    deviation += bounds.mix_deviation(stable_n, stable_n**2 / stable_draws, classes, sides.alpha)
    shown = max(0.0, distance - deviation)
    numbers |= {"distance": distance, "distance_by_chance": chance, "deviation": deviation, "distance_lower": shown}
    text = (
        f"mix of predicted classes of {output}: distance {distance:.3f} (surely at least {shown:.3f}; {chance:.3f} is "
        f"expected by chance), allowed {max_shift:.3f}"
    )
    if with_psi:
        psi = population_stability.stability_index(theirs, mine)
        psi_chance = population_stability.by_chance(classes, stable_draws, draws)
        numbers |= {"psi": psi, "psi_by_chance": psi_chance}
        text += f"; {population_stability.in_words(psi, psi_chance)}"
    if shown > max_shift:
        return Check(name, Outcome.FAIL, numbers, text)
    within = distance - chance <= max_shift
    return Check(name, Outcome.PASS if within else Outcome.INCONCLUSIVE, numbers, text)


def _draws(side: Tally, output: str, rows: int) -> float:
    """Return how many draws the rows are worth: large batches among small ones are few, as their squares say."""
    answers = max(1, side.answers)
    confidences = side.values.get(f"{CONFIDENCE}:{output}", ValueHistogram())
    worth = confidences.rows**2 / sum_of_squares(confidences, answers) if confidences.rows else rows
    return float(min(rows, answers, worth))


def _distance_by_chance(mine: list[int], theirs: list[int], draws: float, stable_draws: float) -> float:
    """Return the expected distance of two samples of one mix, estimated by the pooled counts.

    The mean of a centred normal's absolute value is sqrt(2/pi) of its deviation; a class that is rarer than one in the
    smaller sample cannot contribute more than its own share.
    """
    n, m = sum(mine), sum(theirs)
    scatter = 1 / max(1, draws) + 1 / max(1, stable_draws)
    total = 0.0
    for a, b in zip(mine, theirs, strict=True):
        share = (a + b) / (n + m)
        total += min(math.sqrt(2 / math.pi * share * (1 - share) * scatter), 2 * share)
    return total / 2
