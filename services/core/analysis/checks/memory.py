"""Whether the candidate's memory keeps growing while stable's does not: a slow leak, which no answer shows.

Samples of memory are no independent random sample, so, unlike the other checks, this one has no error bound. It says
that a candidate leaks only where all of this holds on one Triton: its robust slope, and that of its distance from
stable, are beyond what is allowed, with room for noise; it went on in the later part of the samples as before, which an
allocator that fills once does not; the smallest amounts of each quarter rose from quarter to quarter, which no garbage
collector that ran in between leaves; and it is more than a few pages in all. It says that a candidate does not leak
where one of the two slopes surely is within what is allowed, over the whole time or its second half. Where noise leaves
room for both it says neither, and how much longer to watch. What grows for longer than the window before it is given
back looks like a leak: ``window_s`` must be longer than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from services.core.analysis.checks.sides import Numbers
from services.core.analysis.slope import Slope, slope
from services.core.analysis.verdict import Check, Outcome
from services.core.memory.course import MemoryCourse, MemorySample, ServerMemory
from services.core.memory.report import size
from services.core.memory.terms import LEAST_SAMPLES, MIB, SETTLING_SHARE, MemoryTerms

NAME = "memory"
LEAST_GROWTH_BYTES = 16 * MIB
"""Growth that no leak is called below."""
# What the slopes of the second half and of the last third must still have of the first half's and of the whole. A
# logarithm has 0.46 of the first half's, an allocator that has filled to 63 % by the end of the window 0.67, a leak 1.
_STILL_SHARE = 0.9
_QUARTERS = 4
_HOUR_S = 3600.0
_MILLION = 1e6


@dataclass(frozen=True, slots=True)
class _Growth:
    """What the settled samples of one Triton show; amounts in bytes, rates in bytes per second.

    Attributes:
        samples: The settled samples.
        candidate: How the candidate grew.
        excess: How it grew beyond stable in its place.
        stable: How stable grew.
        early: How the candidate grew in the first half.
        late: In the second half.
        late_excess: In the second half beyond stable.
        last: In the last third.
        allowed: What it may.
    """

    samples: Sequence[MemorySample]
    candidate: Slope
    excess: Slope
    stable: Slope
    early: Slope
    late: Slope
    late_excess: Slope
    last: Slope
    allowed: float

    @property
    def seconds(self) -> float:
        return self.samples[-1].at - self.samples[0].at

    @property
    def grown(self) -> float:
        return self.candidate.value * self.seconds

    @property
    def per_million(self) -> float | None:
        answers = self.samples[-1].candidate_answers - self.samples[0].candidate_answers
        return self.grown / answers * _MILLION if answers else None

    @property
    def is_leak(self) -> bool:
        """Whether a leak is shown."""
        return (
            min(self.candidate.lower, self.excess.lower) > self.allowed
            and min(self.late.value, self.last.value) >= _STILL_SHARE * max(self.candidate.value, self.early.value)
            and self.grown >= LEAST_GROWTH_BYTES
            and _rises(self.samples)
        )

    @property
    def is_within(self) -> bool:
        """Whether it surely grew no faster than is allowed, or did in the second half: what filled once is no harm."""
        return self.surely_at_most <= self.allowed

    @property
    def more_s(self) -> float | None:
        """About how much longer to watch until this is told, if all goes on so; None where that cannot be said.

        An interval of a slope shrinks with the 3/2-th power of the time.
        """
        nearest = min(self._slopes, key=lambda one: one.upper)
        room = self.allowed - nearest.value
        width = nearest.upper - nearest.value if room > 0 else nearest.value - nearest.lower
        return self.seconds * ((width / abs(room)) ** (2 / 3) - 1) if room and width > abs(room) else None

    @property
    def _slopes(self) -> tuple[Slope, ...]:
        return self.candidate, self.excess, self.late, self.late_excess

    @property
    def surely_at_most(self) -> float:
        """The least upper bound, of the whole time or the second half, by itself or beyond stable."""
        return min(one.upper for one in self._slopes)


def memory(terms: MemoryTerms, course: MemoryCourse, who: str = "the candidate") -> Check:
    """Does the candidate's memory grow beyond stable's by more than is allowed, without an end in sight?

    Args:
        terms: What was asked.
        course: What was seen of stable and the candidate, or of stable and another arm.
        who: Whose memory that is, in words.
    """
    found = {name: growth for name, one in course.servers.items() if (growth := _growth(terms, one)) is not None}
    leaks = {name: growth for name, growth in found.items() if growth.is_leak}
    if leaks:
        name = max(leaks, key=lambda name: leaks[name].candidate.lower)
        return _said(Outcome.FAIL, name, leaks[name], course, who)
    if not found or len(found) < len(course.servers) or course.problem:
        return _too_little(terms, course)
    unsure = {name: growth for name, growth in found.items() if not growth.is_within}
    asked = unsure or found
    name = max(asked, key=lambda name: asked[name].candidate.value - asked[name].allowed)
    return _said(Outcome.INCONCLUSIVE if unsure else Outcome.PASS, name, asked[name], course, who)


@lru_cache(maxsize=64)  # looked at with every tick, while samples come at longer intervals
def _growth(terms: MemoryTerms, server: ServerMemory) -> _Growth | None:
    """Return what a Triton's samples show once they have settled; None while there are too few of them."""
    seen = server.samples
    if not seen or seen[-1].at - seen[0].at < terms.window_s:
        return None
    since = seen[0].at + SETTLING_SHARE * (seen[-1].at - seen[0].at)
    settled = [sample for sample in seen if sample.at >= since]
    if len(settled) < LEAST_SAMPLES:
        return None
    half, third = len(settled) // 2, max(LEAST_SAMPLES // 2, len(settled) // 3)
    stable = slope([one.at for one in settled], [one.stable_bytes for one in settled])
    if stable is None:
        return None
    share = _share_of_stable(settled, stable)
    halves = settled[:half], settled[half:]
    candidate, excess = _slope(settled, 0.0), _slope(settled, share)
    early, late, late_excess = _slope(halves[0], 0.0), _slope(halves[1], 0.0), _slope(halves[1], share)
    last = _slope(settled[-third:], 0.0)
    if not (candidate and excess and early and late and late_excess and last):
        return None
    relative = terms.max_growth_share_per_h * settled[0].candidate_bytes
    allowed = max(terms.max_growth_mib_per_h * MIB, relative) / _HOUR_S
    return _Growth(settled, candidate, excess, stable, early, late, late_excess, last, allowed)


def _slope(samples: Sequence[MemorySample], beyond: float) -> Slope | None:
    """Return how the candidate grew beyond a multiple of stable."""
    amounts = [sample.candidate_bytes - beyond * sample.stable_bytes for sample in samples]
    return slope([sample.at for sample in samples], amounts)


def _share_of_stable(samples: Sequence[MemorySample], stable: Slope) -> float:
    """Return how many times as much stable would grow in the candidate's place.

    It is as much by the time. Where it surely grows, that may be with its answers, and the candidate may have more.
    """
    first, last = samples[0], samples[-1]
    theirs, mine = (last.stable_answers - first.stable_answers, last.candidate_answers - first.candidate_answers)
    return max(1.0, mine / theirs) if theirs and stable.lower > 0 else 1.0


def _rises(samples: Sequence[MemorySample]) -> bool:
    """Return whether the smallest amount of each quarter is beyond that of the quarter before."""
    bounds = [len(samples) * quarter // _QUARTERS for quarter in range(_QUARTERS + 1)]
    least = [min(sample.candidate_bytes for sample in samples[low:high]) for low, high in pairwise(bounds)]
    return all(before < after for before, after in pairwise(least))


def _too_little(terms: MemoryTerms, course: MemoryCourse) -> Check:
    numbers: Numbers = {"servers": len(course.servers), "seconds": course.watched_s, "window_s": terms.window_s}
    why = f" ({course.problem})" if course.problem else ""
    text = f"memory: watched for {course.watched_s:.0f} s, {terms.window_s:g} s are asked for{why}"
    return Check(NAME, Outcome.INCONCLUSIVE, numbers, text)


def _said(outcome: Outcome, name: str, growth: _Growth, course: MemoryCourse, who: str) -> Check:
    first, last, space = growth.samples[0], growth.samples[-1], course.servers[name].space
    full_s = space.available_bytes / growth.candidate.value if space and growth.candidate.value > 0 else None
    hourly, per_million = growth.candidate.value * _HOUR_S, growth.per_million
    numbers: Numbers = {
        "servers": len(course.servers),
        "samples": len(growth.samples),
        "seconds": growth.seconds,
        "candidate_first_bytes": first.candidate_bytes,
        "candidate_last_bytes": last.candidate_bytes,
        "candidate_bytes_per_h": hourly,
        "candidate_lower_bytes_per_h": growth.candidate.lower * _HOUR_S,
        "candidate_upper_bytes_per_h": growth.candidate.upper * _HOUR_S,
        "candidate_first_half_bytes_per_h": growth.early.value * _HOUR_S,
        "candidate_second_half_bytes_per_h": growth.late.value * _HOUR_S,
        "candidate_last_third_bytes_per_h": growth.last.value * _HOUR_S,
        "candidate_bytes_per_million_answers": per_million,
        "stable_bytes_per_h": growth.stable.value * _HOUR_S,
        "excess_bytes_per_h": growth.excess.value * _HOUR_S,
        "excess_lower_bytes_per_h": growth.excess.lower * _HOUR_S,
        "excess_upper_bytes_per_h": growth.excess.upper * _HOUR_S,
        "surely_at_most_bytes_per_h": growth.surely_at_most * _HOUR_S,
        "allowed_bytes_per_h": growth.allowed * _HOUR_S,
        "more_s": growth.more_s,
        "full_s": full_s,
        "restarts": course.servers[name].restarts,
    }
    answers = "" if per_million is None else f" and {size(per_million)} per million answers"
    least = min(growth.candidate.lower, growth.excess.lower) * _HOUR_S
    bound = f"at least {size(least)}" if outcome is Outcome.FAIL else f"at most {size(growth.surely_at_most * _HOUR_S)}"
    text = (
        f"memory: on {name} {who} went from {size(first.candidate_bytes)} to {size(last.candidate_bytes)} in "
        f"{growth.seconds / 60:.0f} min, {size(hourly)} an hour{answers}; stable {size(growth.stable.value * _HOUR_S)} "
        f"an hour; allowed beyond stable's {size(growth.allowed * _HOUR_S)} an hour; surely {bound}"
    )
    if outcome is Outcome.INCONCLUSIVE and growth.more_s is not None:
        text += f"; needs about {growth.more_s / 60:.0f} more minutes to tell"
    if outcome is Outcome.FAIL:
        full = "" if full_s is None else f"; full in about {full_s / _HOUR_S:.1f} h at this rate"
        text += f"{full} (memory is sampled, not dealt out by chance: no error bound covers this check)"
    return Check(NAME, outcome, numbers, text)
