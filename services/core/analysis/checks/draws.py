"""How many independent draws the rows of answers are worth, and what is said where one version gave none."""

from __future__ import annotations

from services.core.analysis.checks.sides import Numbers, Sides, percent
from services.core.analysis.verdict import Check, Outcome
from services.core.counts.value_histogram import ValueHistogram

# That all requests for an output went to one version is chance down to this probability.
_UNREMARKABLE = 0.05


def sum_of_squares(histogram: ValueHistogram, answers: int) -> float:
    """Return the sum of the squares of the weights: a request with several answers is one draw, not several.

    A count that was read while an answer was being counted may lack its square.

    Args:
        histogram: Rows of answers.
        answers: Number of answers.
    """
    rows = histogram.rows
    return max(float(histogram.squares), float(rows), rows**2 / max(1, answers))


def on_one_side(
    name: str, subject: str, numbers: Numbers, sides: Sides, *, draws: tuple[float, float], max_shift: float
) -> Check:
    """Judge an output that one version alone gave.

    It passes where the few requests for it may all have gone to that version by chance, or where any shift is allowed.

    Args:
        name: The check's.
        subject: What is compared, in words.
        numbers: What is known so far.
        sides: The two versions.
        draws: What the candidate's rows are worth, and what stable's are: one of them is 0.
        max_shift: Allowed distance, 0 to 1.
    """
    mine, theirs = draws
    who, share, count = ("the candidate", sides.weight, mine) if mine else ("stable", 1.0 - sides.weight, theirs)
    chance = share**count
    text = f"{subject}: one side has none; {who} alone gave it, which is chance with {percent(chance)}"
    passes = chance >= _UNREMARKABLE or max_shift >= 1.0
    outcome = Outcome.PASS if passes else Outcome.INCONCLUSIVE
    return Check(name, outcome, {**numbers, "one_sided_by_chance": chance}, text)
