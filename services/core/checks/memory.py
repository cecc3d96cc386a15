"""Whether the candidate's memory keeps growing while stable's does not: a slow leak, which no answer shows.

Samples of memory are no independent random sample, so, unlike the other checks, this one has no error bound. It says
that a candidate leaks only where all of this holds on one Triton: its robust slope is beyond what is allowed and
stable's, with room for noise; it went on in the later part of the samples as before, which an allocator that fills once
does not; the smallest amounts of each quarter rose from quarter to quarter, which no garbage collector that ran in
between leaves; and it is more than a few pages in all. What grows for longer than the window before it is given back
looks like a leak: ``window_s`` must be longer than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from services.core.checks.sides import Numbers
from services.core.memory_course import MemoryCourse, MemorySample, ServerMemory
from services.core.memory_report import size
from services.core.memory_terms import LEAST_SAMPLES, MIB, SETTLING_SHARE, MemoryTerms
from services.core.slope import Slope, slope
from services.core.verdict import Check, Outcome

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
    """What the settled samples of one Triton show; amounts in bytes, rates in bytes per second."""

    samples: Sequence[MemorySample]
    candidate: Slope
    stable: float
    early: float
    late: float
    last: float
    excused: float
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
            self.candidate.lower - self.excused > self.allowed
            and min(self.late, self.last) >= _STILL_SHARE * max(self.candidate.value, self.early)
            and self.grown >= LEAST_GROWTH_BYTES
            and _rises(self.samples)
        )

    @property
    def is_within(self) -> bool:
        """Whether the second half grew no faster than is allowed: what filled once before that is no harm."""
        return self.late - self.excused <= self.allowed


def memory(terms: MemoryTerms, course: MemoryCourse) -> Check:
    """Does the candidate's memory grow beyond stable's by more than is allowed, without an end in sight?"""
    found = {name: growth for name, one in course.servers.items() if (growth := _growth(terms, one)) is not None}
    leaks = {name: growth for name, growth in found.items() if growth.is_leak}
    if leaks:
        name = max(leaks, key=lambda name: leaks[name].candidate.lower)
        return _said(Outcome.FAIL, name, leaks[name], course)
    if not found or len(found) < len(course.servers) or course.problem:
        return _too_little(terms, course)
    name = max(found, key=lambda name: found[name].candidate.value - found[name].allowed)
    outcome = Outcome.PASS if all(one.is_within for one in found.values()) else Outcome.INCONCLUSIVE
    return _said(outcome, name, found[name], course)


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
    candidate, stable = _slope(settled), slope([one.at for one in settled], [one.stable_bytes for one in settled])
    parts = [_slope(part) for part in (settled[:half], settled[half:], settled[-third:])]
    if candidate is None or stable is None or None in parts:
        return None
    early, late, last = (part.value for part in parts if part is not None)
    share = terms.max_growth_share_per_h * settled[0].candidate_bytes
    allowed = max(terms.max_growth_mib_per_h * MIB, share) / _HOUR_S
    return _Growth(settled, candidate, stable.value, early, late, last, _excused(settled, stable.value), allowed)


def _slope(samples: Sequence[MemorySample]) -> Slope | None:
    return slope([sample.at for sample in samples], [sample.candidate_bytes for sample in samples])


def _excused(samples: Sequence[MemorySample], stable: float) -> float:
    """Return how fast stable would grow in the candidate's place: by the time, or by the answers if that is more."""
    first, last = samples[0], samples[-1]
    theirs, mine = (last.stable_answers - first.stable_answers, last.candidate_answers - first.candidate_answers)
    return max(0.0, stable, stable * mine / theirs if theirs else 0.0)


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


def _said(outcome: Outcome, name: str, growth: _Growth, course: MemoryCourse) -> Check:
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
        "candidate_first_half_bytes_per_h": growth.early * _HOUR_S,
        "candidate_second_half_bytes_per_h": growth.late * _HOUR_S,
        "candidate_last_third_bytes_per_h": growth.last * _HOUR_S,
        "candidate_bytes_per_million_answers": per_million,
        "stable_bytes_per_h": growth.stable * _HOUR_S,
        "excused_bytes_per_h": growth.excused * _HOUR_S,
        "allowed_bytes_per_h": growth.allowed * _HOUR_S,
        "full_s": full_s,
        "restarts": course.servers[name].restarts,
    }
    answers = "" if per_million is None else f" and {size(per_million)} per million answers"
    text = (
        f"memory: on {name} the candidate went from {size(first.candidate_bytes)} to {size(last.candidate_bytes)} in "
        f"{growth.seconds / 60:.0f} min, {size(hourly)} an hour{answers}; stable {size(growth.stable * _HOUR_S)} an "
        f"hour; allowed beyond stable's {size(growth.allowed * _HOUR_S)} an hour"
    )
    if outcome is Outcome.FAIL:
        full = "" if full_s is None else f"; full in about {full_s / _HOUR_S:.1f} h at this rate"
        text += f"{full} (memory is sampled, not dealt out by chance: no error bound covers this check)"
    return Check(NAME, outcome, numbers, text)
