"""One attempt at one replica, and what it says of that replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from services.core.errors import OK, PenstockError, status_of
from services.core.inference import Attempt, InferRequest, InferResponse
from services.triton.replicas.balance import smoothed
from services.triton.replicas.events import ReplicaEvents
from services.triton.replicas.judge import Judge
from services.triton.replicas.replica import Pair
from services.triton.replicas.rules import rule_of

CANCELLED = "cancelled"
_PENALTY, _PENALTY_S, _MOST_S = 2.0, 0.001, 10.0


class Attempts:
    """Makes attempts, and keeps the numbers by which replicas are chosen and judged.

    Args:
        judge: Told of failures.
        events: Told of every attempt.
        clock: Seconds, monotonic.
    """

    def __init__(self, judge: Judge, events: ReplicaEvents, clock: Callable[[], float]) -> None:
        self._judge = judge
        self._events = events
        self._clock = clock

    async def infer(
        self,
        pair: Pair,
        request: InferRequest,
        timeout_s: float,
        left_s: float,
        *,
        group: Pair | None,
        alone: bool = False,
    ) -> InferResponse:
        """Make one attempt at one answer.

        Args:
            pair: Which version, and where.
            request: What to ask.
            timeout_s: Bound on this attempt.
            left_s: Time that the request has in all.
            group: ``pair`` if the attempt may be given up because somebody else can make a second one.
            alone: Whether it must not be merged with others, whose fate it would share.

        Raises:
            PenstockError: As ``Upstream.infer``; the replica has been judged by it.
        """
        clock, replica, version = self._clock, pair.replica, pair.version
        begun = clock()
        pair.begin(begun)
        try:
            merging = None if alone else version.merging
            if merging is None:
                response = await pair.attempt(request, timeout_s, left_s, group)
            else:
                response = await pair.merger.attempt(
                    request, timeout_s, left_s, merging, busy=pair.in_flight > 1, group=group
                )
        except PenstockError as error:
            self._failed(pair, request, error, begun)
            raise
        except asyncio.CancelledError:
            self._ended(request, pair, CANCELLED, begun, clock())
            raise
        finally:
            pair.in_flight -= 1
            replica.in_flight -= 1
        now = clock()
        seconds = response.exchange_s
        latency_s = smoothed(pair.latency_s, seconds, now - pair.heard_at)
        pair.latency_s = max(version.least_s, latency_s)
        pair.heard_at = pair.waiting_since = replica.heard_at = replica.waiting_since = now
        version.latencies.observe(seconds)
        if pair.failing or pair.health.failures or replica.health.failures:
            pair.recovered()
        self._ended(request, pair, OK.outcome, begun, now)
        return response

    async def stream(
        self, pair: Pair, request: InferRequest, timeout_s: float, *, group: Pair | None
    ) -> AsyncGenerator[InferResponse, None]:
        """Make one attempt at a stream, whose first response counts as its answer; otherwise as ``infer``."""
        begun, heard, outcome = self._clock(), False, CANCELLED
        replica = pair.replica
        pair.begin(begun)
        try:
            async with aclosing(
                replica.upstream.stream(request, pair.version.version, timeout_s, group=group)
            ) as responses:
                async for response in responses:
                    now = self._clock()
                    if not heard:
                        heard = True
                        pair.version.latencies.observe(now - begun)
                        pair.recovered()
                    pair.heard_at = pair.waiting_since = replica.heard_at = replica.waiting_since = now
                    yield response
            outcome = OK.outcome
        except PenstockError as error:
            outcome = ""
            self._failed(pair, request, error, begun)
            raise
        finally:
            pair.in_flight -= 1
            replica.in_flight -= 1
            if outcome:
                self._ended(request, pair, outcome, begun, self._clock())

    def _ended(self, request: InferRequest, pair: Pair, outcome: str, begun: float, now: float) -> None:
        """Tell of an attempt: the counts by event, the request's own trace by its list."""
        request.attempts.append(Attempt(pair.replica.name, begun, now, outcome))
        self._events.attempt(pair.replica.name, pair.version.model, pair.version.version, outcome)

    def _failed(self, pair: Pair, request: InferRequest, error: PenstockError, begun: float) -> None:
        now = self._clock()
        rule = rule_of(error)
        counted = self._judge.failed(pair, rule, error, now - begun, now)
        if counted and rule.again:
            # Whoever refuses quickly has nothing in flight, and would draw everything if it did not count as slow.
            pair.latency_s = min(pair.latency_s * _PENALTY or _PENALTY_S, _MOST_S)
        self._ended(request, pair, rule.outcome or status_of(error).outcome, begun, now)
