"""The experiment: find what Triton can carry, then offer a gateway 0.8, 10 and again 0.8 times as much."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvloop

from loadtest.overload.arithmetic import OK, Span, lateness_s, quantile, recovery_s, span
from loadtest.overload.model import BATCH, request_bytes
from loadtest.raw_generator import NOT_SENT, Generator, Shot
from loadtest.schedule import Process, offsets
from services.core.errors import PenstockError

CALM = 0.8
"""The load before and after, as a share of the capacity: all that can be carried with random arrivals."""
OVERLOAD = 10.0
_LEVELS = (2 * BATCH, 4 * BATCH, 8 * BATCH)
_LEAD_IN_S = 3.0
_SETTLE_S = 0.5
_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how much.

    Attributes:
        phase_s: Length of each of the three phases.
        deadline_s: Time that each request has.
        seed: Of the arrivals.
    """

    phase_s: float
    deadline_s: float
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """What one gateway did.

    Attributes:
        name: The gateway.
        capacity: What Triton carries, requests/s.
        phases: Before, overload, after.
        seconds: The same time, second by second.
        recovery_s: Time until the load is carried again.
        late_p99_s: How late the generator sent.
        not_sent: Requests that it could not send.
    """

    name: str
    capacity: float
    phases: tuple[Span, Span, Span]
    seconds: tuple[Span, ...]
    recovery_s: float
    late_p99_s: float
    not_sent: int


def capacity(address: str, seconds: float, say: Callable[[str], None]) -> float:
    """Return the most answers per second that Triton gives without a gateway, at any of three concurrencies.

    Raises:
        PenstockError: A request failed.
    """
    found: list[float] = []
    for connections in _LEVELS:
        generator = Generator(address, request_bytes(address, 60.0), 10.0)
        shots = uvloop.run(generator.closed_loop(connections, seconds))
        wrong = [shot for shot in shots if shot.status != OK]
        if wrong or not shots:
            raise PenstockError(
                f"Triton at {address}: {len(wrong)} of {len(shots)} requests failed before any overload"
            )
        inside = sum(_SETTLE_S <= shot.done < seconds for shot in shots)
        found.append(inside / (seconds - _SETTLE_S))
        say(f"Triton carries {found[-1]:.0f} requests/s at {connections} connections")
    return max(found)


def run(name: str, address: str, carried: float, plan: Plan, say: Callable[[str], None]) -> Run:
    """Offer the load to one gateway."""
    calm, high = CALM * carried, OVERLOAD * carried
    say(f"{name}: {calm:.0f}, {high:.0f} and {calm:.0f} requests/s, {plan.phase_s:g} s each")
    generator = Generator(address, request_bytes(address, plan.deadline_s), _PATIENCE * plan.deadline_s)
    shots = uvloop.run(generator.open_loop(list(_schedule(calm, high, plan))))
    return summary(name, carried, shots, plan)


def summary(name: str, carried: float, shots: list[Shot], plan: Plan) -> Run:
    """Return what the shots of one run mean; the lead-in counts for nothing."""
    length, deadline_s = plan.phase_s, plan.deadline_s
    begins = [_LEAD_IN_S + number * length for number in range(4)]
    before, overload, after = (span(shots, begin, end, deadline_s) for begin, end in itertools.pairwise(begins))
    seconds = (span(shots, begins[0] + at, begins[0] + at + 1.0, deadline_s) for at in range(int(3 * length)))
    return Run(
        name,
        carried,
        (before, overload, after),
        tuple(seconds),
        recovery_s(shots, begins[2], begins[3], deadline_s),
        quantile(lateness_s(shots), 0.99),
        sum(shot.status == NOT_SENT for shot in shots),
    )


def _schedule(calm: float, high: float, plan: Plan) -> Iterator[float]:
    """Yield when requests are due: a lead-in at the calm rate, then the three phases."""
    begin = 0.0
    lengths = (_LEAD_IN_S + plan.phase_s, plan.phase_s, plan.phase_s)
    for number, (rate, length) in enumerate(zip((calm, high, calm), lengths, strict=True)):
        yield from (begin + at for at in offsets(Process.POISSON, rate, plan.seed + number, length))
        begin += length
