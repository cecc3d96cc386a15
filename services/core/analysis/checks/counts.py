"""Whether the counts can be believed, and whether there are enough of them."""

from __future__ import annotations

from services.core.analysis.checks.sides import Numbers, Sides, percent
from services.core.analysis.verdict import Check, Outcome
from services.core.counts.tally import Tally


def contradiction(stable: Tally, candidate: Tally) -> Check | None:
    """Return an error where counts contradict themselves, so that nothing can be concluded from them."""
    for side, tally in (("stable", stable), ("candidate", candidate)):
        if min(tally.requests, tally.failed, tally.non_finite) < 0 or tally.failed > tally.requests:
            return Check(
                "counts",
                Outcome.ERROR,
                {"requests": tally.requests, "failed": tally.failed, "non_finite": tally.non_finite},
                f"the counts of {side} contradict themselves: {tally.failed} failed and {tally.non_finite} not finite "
                f"of {tally.requests} requests",
            )
    return None


def sample(sides: Sides, min_requests: int) -> Check:
    """Are there enough answers on both sides? Failures do not count: an outage is no evidence."""
    stable, candidate = sides.stable.answers, sides.candidate.answers
    numbers: Numbers = {"stable_answers": stable, "candidate_answers": candidate, "min_requests": min_requests}
    enough = min(stable, candidate) >= min_requests
    text = (
        f"the candidate answered {candidate} requests and stable {stable}; at least {min_requests} each were asked for"
    )
    return Check("requests", Outcome.PASS if enough else Outcome.INCONCLUSIVE, numbers, text)


def stable_health(sides: Sides, max_stable_error: float) -> Check:
    """Is stable well enough to compare with? Two versions that both fail are equal, and that proves nothing."""
    n, k = sides.stable.requests, sides.stable.bad
    share = k / n if n else None
    numbers: Numbers = {
        "stable_requests": n,
        "stable_bad": k,
        "stable_share": share,
        "max_stable_error": max_stable_error,
    }
    if share is None:
        return Check("stable", Outcome.INCONCLUSIVE, numbers, "stable answered nothing to compare with")
    if share > max_stable_error:
        text = (
            f"stable itself gives {percent(share)} bad answers, more than {percent(max_stable_error)}: "
            "nothing can be learned from a comparison"
        )
        return Check("stable", Outcome.INCONCLUSIVE, numbers, text)
    return Check("stable", Outcome.PASS, numbers, f"stable gives {percent(share)} bad answers")


def finite_at_all(mine: int, theirs: int) -> Check:
    """Does the candidate give a NaN or an infinity where stable gives none? One is enough: no tolerance covers it.

    Of rollouts that ask nothing of the shares of such answers where both versions give them.

    Args:
        mine: Answers of the candidate that are not finite.
        theirs: Answers of stable that are not.
    """
    numbers: Numbers = {"candidate_non_finite": mine, "stable_non_finite": theirs}
    if mine and not theirs:
        text = f"the candidate gave {mine} answers that are not finite, stable none"
        return Check("finite", Outcome.FAIL, numbers, text)
    words = "both versions give answers that are not finite; they count as bad" if mine else "all answers are finite"
    return Check("finite", Outcome.PASS, numbers, words)
