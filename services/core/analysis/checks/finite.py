"""Whether a NaN or an infinity in an answer is the candidate's own, or such as stable gives too.

A model may answer so by design: masked values, the logarithm of 0. Stable tells a fault from that. Of a request that
both answered it is seen at once, place by place; one such value that is the candidate's alone is enough, unless stable
differs from itself like that. Of a request that only the candidate answered it is not: there one is enough as long as
stable is not known to give such answers at all, and after that the shares of both over the same time are compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from services.core.analysis.checks.shares import Question, Share, compare
from services.core.analysis.checks.sides import Numbers, Sides
from services.core.analysis.verdict import Check, Outcome, verdict_of
from services.core.counts.comparison import Comparison
from services.core.counts.tally import Tally
from services.core.rollouts.evidence import Seen

NAME = "finite"
_WHAT = "answers that are not finite"
_NOTHING = Share(0, 0)
_ALL = 100  # percent


@dataclass(frozen=True, slots=True)
class Odd:
    """Answers that are not finite.

    Attributes:
        live: Of the candidate's answers to requests of its own; None where it has none.
        theirs: Of stable's answers over the same time: to requests of its own, or to copies of the candidate's.
        before: Such answers of stable from before that.
        pairs: Pairs in which the candidate has such a value, and stable has another one in its place.
        floor: Pairs in which two answers of stable differ like that; None where it gets no copies of its own requests.
        alike: Pairs in which both have the same such values in the same places.
    """

    live: Share | None
    theirs: Share
    before: int = 0
    pairs: Share = _NOTHING
    floor: Share | None = None
    alike: int = 0


def odd_answers(weight_percent: int, seen: Seen, *, mirrored: bool) -> Odd:
    """Return what is known of answers that are not finite.

    Args:
        weight_percent: Share of the traffic that the candidate has.
        seen: The evidence.
        mirrored: Whether requests are copied to the version that did not answer them.
    """
    comparison, before = seen.comparison, seen.stable_non_finite_before
    alike = max((output.both_non_finite for output in comparison.outputs.values()), default=0)
    if weight_percent == _ALL:
        theirs = _of_pairs(comparison.not_finite_copies, comparison)
        pairs = _of_pairs(comparison.odd_originals, comparison)
        # The floor is the candidate's here: what it gives by chance is no excuse.
        return Odd(_of_answers(seen.candidate), theirs, before, pairs, None, alike)
    live = _of_answers(seen.candidate) if weight_percent else None
    floor = _of_pairs(seen.floor.odd_pairs, seen.floor) if mirrored else None
    return Odd(live, _of_answers(seen.stable), before, _of_pairs(comparison.odd_copies, comparison), floor, alike)


def odd_live_answers(stable: Tally, candidate: Tally, before: int) -> Odd:
    """Return the same of two versions that are compared on traffic of their own alone.

    Args:
        stable: What stable answered.
        candidate: What the candidate did.
        before: Such answers of stable from before that.
    """
    return Odd(_of_answers(candidate), _of_answers(stable), before)


def _of_answers(tally: Tally) -> Share:
    return Share(tally.non_finite, tally.answers)


def _of_pairs(count: int, comparison: Comparison) -> Share:
    return Share(count, comparison.pairs)


def finite(sides: Sides, odd: Odd, max_increase: float) -> Check:
    """Does the candidate give a NaN or an infinity that stable does not give, or surely more of them?

    Args:
        sides: What is compared, and how sure one must be.
        odd: What is known of such answers.
        max_increase: Allowed increase of their share where stable gives them too, absolute, 0 to 1.
    """
    if odd.live is not None and odd.floor is not None:
        sides = replace(sides, alpha=sides.alpha / 2)
    own = _own(sides, odd, max_increase)
    copied = _copied(sides, odd, max_increase)
    floor = odd.floor or _NOTHING
    numbers: Numbers = {
        "candidate_non_finite": sides.candidate.non_finite,
        "stable_non_finite": odd.theirs.count,
        "stable_non_finite_before": odd.before,
        "pairs": odd.pairs.total,
        "pairs_odd": odd.pairs.count,
        "pairs_alike": odd.alike,
        "floor_pairs": floor.total,
        "floor_odd": floor.count,
        "max_increase": max_increase,
        **own.numbers,
        **{f"pairs_{name}": number for name, number in copied.numbers.items()},
    }
    return Check(NAME, verdict_of((own, copied)).outcome, numbers, _words(odd, (own, copied)))


def _own(sides: Sides, odd: Odd, max_increase: float) -> Check:
    """Judge the candidate's answers to requests of its own."""
    live = odd.live
    if live is None or not live.count:
        return _fine()
    if not odd.theirs.count and not odd.before:
        return Check(NAME, Outcome.FAIL, {}, f"the candidate gave {live.count} {_WHAT}, stable none")
    return compare(Question(NAME, _WHAT, max_increase), sides, odd.theirs, live)


def _copied(sides: Sides, odd: Odd, max_increase: float) -> Check:
    """Judge requests that both answered."""
    if not odd.pairs.count:
        return _fine()
    if odd.floor is None or not odd.floor.count:
        text = (
            f"of {odd.pairs.total} requests that both versions answered the candidate gave a NaN or an infinity to "
            f"{odd.pairs.count} where stable gave another value"
        )
        return Check(NAME, Outcome.FAIL, {}, text)
    what = "pairs in which one answer alone is not finite, for stable both its own"
    return compare(Question(NAME, what, max_increase), sides, odd.floor, odd.pairs)


def _fine() -> Check:
    return Check(NAME, Outcome.PASS, {}, "")


def _words(odd: Odd, parts: Iterable[Check]) -> str:
    said = [part.text for part in parts if part.text]
    if odd.alike:
        said.append(
            f"to {odd.alike} of {odd.pairs.total} requests both versions gave the same values that are not finite"
        )
    return "; ".join(said) or "all of the candidate's answers are finite"
