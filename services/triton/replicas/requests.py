"""One request to a set of replicas: the first attempt, and the second where it is safe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from services.core.errors import PenstockError, Unavailable, UpstreamFailure
from services.core.inference import InferRequest, InferResponse
from services.triton.faults import Broken
from services.triton.replicas.attempts import Attempts
from services.triton.replicas.budget import RetryBudget
from services.triton.replicas.events import HEDGE, REFUSED, RETRY, ReplicaEvents
from services.triton.replicas.placement import Placement
from services.triton.replicas.poison import PoisonMemory, digest_of
from services.triton.replicas.replica import Pair, Version
from services.triton.replicas.roster import Roster
from services.triton.replicas.rules import rule_of
from services.triton.replicas.settings import ReplicaSettings

# With less time than this left a second attempt would only be an answer that nobody waits for.
_LEAST_S = 0.002
# Replicas that one request is tried on, counting those where no connection could be made.
_MOST_TRIED = 4
_VOUCH_EVERY_S = 0.5
# A replica that answered so lately was well before a request broke it.
_ALIVE_S = 60.0


class Requests:
    """Answers requests.

    Args:
        roster: Who there is.
        placement: Where requests go.
        attempts: Makes them.
        settings: Bounds.
        events: Told of second attempts.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        roster: Roster,
        placement: Placement,
        attempts: Attempts,
        *,
        settings: ReplicaSettings,
        events: ReplicaEvents,
        clock: Callable[[], float],
    ) -> None:
        self._versions = roster.versions
        self._new_version = roster.version
        self._placement = placement
        self._attempts = attempts
        self._settings = settings
        self._events = events
        self._clock = clock
        self._budget = RetryBudget(settings.retry_share, settings.retries_per_s, settings.retry_burst, clock())
        self._poison = PoisonMemory(settings.poison_memory_s, settings.poison_memory_size)
        self._vouch_at = 0.0

    async def infer(self, request: InferRequest, number: int, timeout_s: float) -> InferResponse:
        """Run one request; errors as in ``Upstream.infer``."""
        key = (request.model, number)
        version = self._versions.get(key) or self._new_version(key)
        if self._poison:
            self._refuse_poison(request, version)
        if request.is_copy:
            return await self._attempts.infer(self._placement.first(version), request, timeout_s, timeout_s, group=None)
        self._budget.requests += 1
        begun = self._clock()
        if request.sequence is not None:
            return await self._in_sequence(version, request, begun + timeout_s)
        first = self._placement.first(version)
        first_s, group = timeout_s, None
        if len(version.well) > 1:
            if version.hedge_s < timeout_s:
                return await self._hedged(version, first, request, begun + timeout_s)
            first_s, group = min(timeout_s, version.attempt_s), first
        try:
            response = await self._attempts.infer(first, request, first_s, timeout_s, group=group)
        except PenstockError as error:
            return await self._again(version, first, request, begun + timeout_s, error)
        if begun >= self._vouch_at:
            self._vouch(request, version, begun)
        return response

    async def stream(self, request: InferRequest, number: int, timeout_s: float) -> AsyncGenerator[InferResponse, None]:
        """Run one request of a decoupled model; a second attempt only before its first response."""
        version = self._new_version((request.model, number))
        self._budget.requests += 1
        alone = request.sequence is None
        place = self._placement
        pair = place.first(version) if alone else place.in_sequence(version, request)
        deadline = self._clock() + timeout_s
        failure: PenstockError | None = None
        for attempt in (1, 2):
            left_s = deadline - self._clock()
            group = pair if attempt == 1 and alone else None
            async with aclosing(self._attempts.stream(pair, request, left_s, group=group)) as responses:
                begun = False
                try:
                    async for response in responses:
                        begun = True
                        response.attempts = attempt
                        yield response
                except PenstockError as error:
                    if begun or attempt > 1:
                        raise error from failure
                    pair, failure = self._second(version, [pair], request, deadline, error), error
                else:
                    return

    def forget(self, now: float) -> None:
        """Let what is old go; to be called now and then."""
        self._poison.forget(now)

    async def _again(
        self, version: Version, first: Pair, request: InferRequest, deadline: float, error: PenstockError
    ) -> InferResponse:
        """Make the second attempt, or raise the error where there must be none.

        What was not sent is no attempt: where no connection could be made, the next replica has the same chance.
        """
        tried, sent = [first], not rule_of(error).unsent
        alive = self._clock() - first.heard_at < _ALIVE_S
        while True:
            pair = self._second(version, tried, request, deadline, error)
            left_s = deadline - self._clock()
            timeout_s, group = (left_s, None) if sent else (min(left_s, version.attempt_s), pair)
            try:
                response = await self._attempts.infer(pair, request, timeout_s, left_s, group=group, alone=True)
            except PenstockError as again:
                again.__cause__ = error
                tried.append(pair)
                if not rule_of(again).unsent:
                    if sent:
                        if alive and rule_of(error).broke and rule_of(again).broke and pair is not tried[-2]:
                            self._poison.remember(digest_of(request, version.version), self._clock())
                        raise
                    sent = True
                error = again
            else:
                response.attempts = 1 + sent
                return response

    def _second(
        self, version: Version, tried: list[Pair], request: InferRequest, deadline: float, error: PenstockError
    ) -> Pair:
        """Return where to try again, which is then paid for; raise ``error`` where there must be no other try."""
        rule = rule_of(error)
        now = self._clock()
        if not rule.again or (request.sequence is not None and not rule.unsent) or deadline - now < _LEAST_S:
            raise error
        if len(tried) >= _MOST_TRIED:
            raise error
        last = tried[-1]
        pair = self._placement.other(version, tried)
        if pair is None and isinstance(error, Broken) and error.stale and last in version.pairs:
            pair = last  # an idle server may hang up at the moment of a request: a new connection tells
        if pair is None:
            raise error
        if not self._budget.take(now):
            self._again_at(last, REFUSED)
            raise error
        self._again_at(pair, RETRY)
        return pair

    async def _in_sequence(self, version: Version, request: InferRequest, deadline: float) -> InferResponse:
        """Run a request where its sequence is; elsewhere only one that begins, and of which nothing was sent."""
        pair = self._placement.in_sequence(version, request)
        left_s = deadline - self._clock()
        try:
            response = await self._attempts.infer(pair, request, left_s, left_s, group=None, alone=True)
        except PenstockError as error:
            if not request.parameters.get("sequence_start"):
                raise
            self._placement.sequence_ended(version, request)
            pair = self._second(version, [pair], request, deadline, error)
            self._placement.sequence_begins(version, request, pair)
            left_s = deadline - self._clock()
            response = await self._attempts.infer(pair, request, left_s, left_s, group=None, alone=True)
            response.attempts = 2
        if request.parameters.get("sequence_end"):
            self._placement.sequence_ended(version, request)
        return response

    async def _hedged(self, version: Version, first: Pair, request: InferRequest, deadline: float) -> InferResponse:
        """Make a second attempt beside the first where that takes long; the first answer wins."""
        left_s = deadline - self._clock()
        running = [asyncio.create_task(self._attempts.infer(first, request, left_s, left_s, group=first))]
        try:
            done, _ = await asyncio.wait(running, timeout=version.hedge_s)
            second = None if done else self._placement.other(version, [first])
            if second is None or not self._budget.take(self._clock()):
                if second is not None:
                    self._again_at(first, REFUSED)
                return await self._first_alone(version, first, request, deadline, running[0])
            self._again_at(second, HEDGE)
            left_s = deadline - self._clock()
            hedge = self._attempts.infer(second, request, left_s, left_s, group=None, alone=True)
            running.append(asyncio.create_task(hedge))
            response = await _first_answer(running)
            response.attempts = 2
            return response
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _first_alone(
        self,
        version: Version,
        first: Pair,
        request: InferRequest,
        deadline: float,
        running: asyncio.Task[InferResponse],
    ) -> InferResponse:
        try:
            return await running
        except PenstockError as error:
            return await self._again(version, first, request, deadline, error)

    def _again_at(self, pair: Pair, kind: str) -> None:
        self._events.again(pair.replica.name, pair.version.model, pair.version.version, kind)

    def _vouch(self, request: InferRequest, version: Version, now: float) -> None:
        """Note one of the requests that are answered, as evidence for all that are like it."""
        self._vouch_at = now + _VOUCH_EVERY_S
        if len(version.pairs) > 1:
            self._poison.answered(digest_of(request, version.version), now)

    def _refuse_poison(self, request: InferRequest, version: Version) -> None:
        if self._poison.holds(digest_of(request, version.version), self._clock()):
            raise UpstreamFailure(
                f"this request for model '{version.model}' version {version.version} ended the connections of two "
                "replicas without an answer, and is not tried on another one for "
                f"{self._settings.poison_memory_s:g} s; send a different one, and look into Triton's log"
            )


async def _first_answer(running: list[asyncio.Task[InferResponse]]) -> InferResponse:
    """Return the first answer of two attempts; a failure only when both have failed, or another would not help."""
    failure: PenstockError | None = None
    for task in asyncio.as_completed(running):
        try:
            return await task
        except PenstockError as error:
            if not rule_of(error).again:
                raise
            failure = error
    raise failure or Unavailable("no attempt was made")
