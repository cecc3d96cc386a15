"""Which replica gets a request. Pure: chance is a parameter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

# Over how long latencies are smoothed.
SMOOTHED_OVER_S = 1.0


class Loaded(Protocol):
    """Something with requests in flight."""

    in_flight: int


class Candidate(Protocol):
    """What a choice looks at: one version on one replica.

    Attributes:
        latency_s: What ``smoothed`` made of its answers.
        share: Its part of its fair share during a slow start, 0 to 1.
    """

    latency_s: float
    share: float

    @property
    def replica(self) -> Loaded:
        """Where it is: all that a replica does is load for each of its versions."""
        ...


Some = TypeVar("Some", bound=Candidate)


def choose(candidates: Sequence[Some], draw: Callable[[], float]) -> Some:
    """Return the less loaded of two candidates drawn at random; there must be at least one.

    Two random choices are nearly as good as the best of all, and do not send everybody to the same one while its
    numbers are old (Mitzenmacher, 2001). Load is requests in flight, plus this one, times latency: in flight alone
    does not see a replica that works at half speed until its queue is twice as long.

    Args:
        candidates: Among whom to choose.
        draw: Gives a number in [0, 1).
    """
    count = len(candidates)
    if count == 1:
        return candidates[0]
    first = int(draw() * count)
    second = int(draw() * (count - 1))
    if second >= first:
        second += 1
    one, other = candidates[first], candidates[second]
    if (other.replica.in_flight + 1) * other.latency_s < (one.replica.in_flight + 1) * one.latency_s:
        one, other = other, one
    if one.share < 1.0 and draw() >= one.share:
        return other
    return one


def smoothed(latency_s: float, seconds: float, since_s: float) -> float:
    """Return the latency after an answer: an average over about the last second.

    A peak-sensitive average, as Finagle has it, was tried and herds where latencies are noisy: whoever had no outlier
    for some seconds looks ten times as fast and gets everything. What is sudden shows in the requests in flight, and
    in ``silent``.

    Args:
        latency_s: The latency before; 0 for none.
        seconds: How long the answer took.
        since_s: Time since the last answer.
    """
    if not latency_s or since_s >= SMOOTHED_OVER_S:
        return seconds
    return latency_s + (seconds - latency_s) * (since_s / SMOOTHED_OVER_S)


def silent(latency_s: float, silent_s: float) -> float:
    """Return the latency of somebody with requests in flight who has said nothing for a time: at least that time."""
    return max(latency_s, silent_s)


def ranked(key: str, names: Iterable[str]) -> list[str]:
    """Return the names in the order in which a key prefers them, the same in every process (rendezvous hashing).

    Taking a name away changes the first choice of no key but those that had it; a new name takes only its own part.
    """
    return sorted(names, key=lambda name: hashlib.blake2b(f"{key}\0{name}".encode(), digest_size=8).digest())
