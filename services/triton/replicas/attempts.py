"""One attempt at one replica, and what it says of that replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from services.core.errors import OK, PenstockError, status_of
from services.core.inference import InferRequest, InferResponse
from services.triton.replicas.balance import smoothed
from services.triton.replicas.events import ReplicaEvents
from services.triton.replicas.judge import Judge
from services.triton.replicas.replica import Pair
from services.triton.replicas.rules import rule_of

CANCELLED = "cancelled"


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
        self, pair: Pair, request: InferRequest, timeout_s: float, left_s: float, *, group: Pair | None
    ) -> InferResponse:
        """Make one attempt at one answer.

        Args:
            pair: Which version, and where.
            request: What to ask.
            timeout_s: Bound on this attempt.
            left_s: Time that the request has in all.
            group: ``pair`` if the attempt may be given up because somebody else can make a second one.

        Raises:
            PenstockError: As ``Upstream.infer``; the replica has been judged by it.
        """
        clock, replica = self._clock, pair.replica
        begun = clock()
        pair.begin(begun)
        try:
            response = await replica.upstream.attempt(
                request, pair.version.version, timeout_s, left_s, resend=False, group=group
            )
        except PenstockError as error:
            self._failed(pair, error, begun)
            raise
        except asyncio.CancelledError:
            self._events.attempt(replica.name, CANCELLED, clock() - begun)
            raise
        finally:
            pair.in_flight -= 1
            replica.in_flight -= 1
        now = clock()
        seconds = response.exchange_s
        pair.latency_s = smoothed(pair.latency_s, seconds, now - pair.heard_at)
        pair.heard_at = pair.waiting_since = replica.heard_at = replica.waiting_since = now
        pair.version.latencies.observe(seconds)
        if pair.failing or pair.health.failures or replica.health.failures:
            pair.recovered()
        self._events.attempt(replica.name, OK.outcome, seconds)
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
            self._failed(pair, error, begun)
            raise
        finally:
            pair.in_flight -= 1
            replica.in_flight -= 1
            if outcome:
                self._events.attempt(replica.name, outcome, self._clock() - begun)

    def _failed(self, pair: Pair, error: PenstockError, begun: float) -> None:
        now = self._clock()
        rule = rule_of(error)
        self._judge.failed(pair, rule, error, now - begun, now)
        self._events.attempt(pair.replica.name, rule.outcome or status_of(error).outcome, now - begun)
