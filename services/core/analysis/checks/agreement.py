"""A comparison of both versions' answers to the same requests, against how much one version differs from itself."""

from __future__ import annotations

from services.core.analysis import bounds
from services.core.analysis.checks.sides import Numbers, Sides, percent
from services.core.analysis.verdict import Check, Outcome
from services.core.counts.comparison import Comparison


def agreement(
    sides: Sides, comparison: Comparison, floor: Comparison, max_disagreement: float, *, floor_asked: bool
) -> Check:
    """Do the versions answer more of the same requests differently than is allowed, beyond the noise floor?

    Where no copies are to go to the version itself, the floor is taken as none at all: that is said by whoever asks for
    none. A version that answers one request in different ways then shows as disagreement. Where they are, and none has
    been compared yet, the floor may be anything, and no harm is shown.

    Args:
        sides: How sure one must be.
        comparison: The two versions on the same requests.
        floor: One version and itself.
        max_disagreement: Allowed share beyond the floor, 0 to 1.
        floor_asked: Whether some copies are to go to the version that answered itself.
    """
    numbers: Numbers = {
        "pairs": comparison.pairs,
        "differing": comparison.differing,
        "floor_pairs": floor.pairs,
        "floor_differing": floor.differing,
        "dropped": comparison.dropped,
        "max_disagreement": max_disagreement,
        "alpha": sides.alpha,
        "beta": sides.beta,
    }
    if not comparison.pairs:
        return Check("agreement", Outcome.INCONCLUSIVE, numbers, "agreement: no two answers were compared yet")
    share = comparison.differing / comparison.pairs
    noise = floor.differing / floor.pairs if floor.pairs else 0.0
    lower = bounds.lower_share(comparison.differing, comparison.pairs, sides.alpha)
    unknown = 1.0 if floor_asked else 0.0
    noise_upper = bounds.upper_share(floor.differing, floor.pairs, sides.alpha) if floor.pairs else unknown
    numbers |= {"share": share, "lower": lower, "noise": noise, "noise_upper": noise_upper}
    text = (
        f"agreement: {comparison.differing} of {comparison.pairs} copied requests are answered differently, "
        f"{percent(share)} (surely at least {percent(lower)}); one version differs from itself in {percent(noise)} "
        f"(surely at most {percent(noise_upper)}); allowed beyond that {percent(max_disagreement)}"
    )
    if lower - noise_upper > max_disagreement:
        return Check("agreement", Outcome.FAIL, numbers, text)
    within = share - noise <= max_disagreement
    if sides.final:
        upper = bounds.upper_share(comparison.differing, comparison.pairs, sides.beta)
        noise_lower = bounds.lower_share(floor.differing, floor.pairs, sides.beta) if floor.pairs else 0.0
        numbers |= {"upper": upper, "noise_lower": noise_lower}
        text += f"; surely at most {percent(max(0.0, upper - noise_lower))} beyond it"
        within = upper - noise_lower <= max_disagreement
    return Check("agreement", Outcome.PASS if within else Outcome.INCONCLUSIVE, numbers, text)
