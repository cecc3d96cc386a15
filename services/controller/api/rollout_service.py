"""Rollouts over gRPC: what REST offers, by the same operations, the same documents and the same errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from services.controller.api import rollout_wire as wire
from services.controller.api.grpc_errors import AnsweredElsewhere, answering
from services.controller.api.leader_calls import LeaderCalls
from services.controller.election.leadership import NotLeading
from services.controller.events.event_feed import EventFeed, Subscription
from services.controller.events.notice import Notice
from services.controller.events.watch import Watch
from services.controller.insight import Insight
from services.controller.operations import Operations
from services.core.errors import DeadlineExceeded, Overloaded, PayloadTooLarge, Unavailable
from services.core.rollouts.event import Event, EventKind
from services.pb.penstock.v1 import rollouts_pb2 as pb
from services.pb.penstock.v1 import rollouts_pb2_grpc

_LOG = logging.getLogger(__name__)
# As REST's bound on bodies, and what a gRPC client takes unless it was told otherwise.
MAX_REQUEST_BYTES = 1024 * 1024
MAX_ANSWER_BYTES = 4 * 1024 * 1024
# gRPC's keepalive notices a client that is gone; this bounds one wait, not the watch.
_QUIET_S = 15.0
# Longest wait for the leader where this controller can answer too, in part.
_READ_S = 2.0
Asked = TypeVar("Asked", bound=Message)


class RolloutService(rollouts_pb2_grpc.RolloutServiceServicer):  # type: ignore[misc] # generated code has no types
    """Start, steer, read and watch rollouts.

    Args:
        operations: Start, steer and read them.
        insight: Explanations and plans.
        feed: What happens.
        watch: What there is now.
        to_leader: Passes what changes something on while another controller leads.
        max_watchers: Bound on the streams.
        patience_s: Longest time for a client to take a state.
    """

    def __init__(
        self,
        *,
        operations: Operations,
        insight: Insight,
        feed: EventFeed,
        watch: Watch,
        to_leader: LeaderCalls,
        max_watchers: int = 32,
        patience_s: float = 10.0,
    ) -> None:
        self._operations = operations
        self._insight = insight
        self._feed = feed
        self._watch = watch
        self._to_leader = to_leader
        self._max_watchers = max_watchers
        self._patience_s = patience_s
        self.watchers = 0

    async def StartRollout(self, request: pb.StartRolloutRequest, context: grpc.aio.ServicerContext) -> Message:  # noqa: N802 - the names are the protocol's
        """Begin a rollout, or return the one that the same request began."""
        return await self._written("StartRollout", request, context, self._start)

    async def Pause(self, request: pb.VerbRequest, context: grpc.aio.ServicerContext) -> Message:  # noqa: N802
        """Hold the weight where it is."""
        return await self._written("Pause", request, context, self._steering(EventKind.PAUSE))

    async def Resume(self, request: pb.VerbRequest, context: grpc.aio.ServicerContext) -> Message:  # noqa: N802
        """Go on."""
        return await self._written("Resume", request, context, self._steering(EventKind.RESUME))

    async def Promote(self, request: pb.VerbRequest, context: grpc.aio.ServicerContext) -> Message:  # noqa: N802
        """Give the candidate all traffic."""
        return await self._written("Promote", request, context, self._steering(EventKind.PROMOTE))

    async def Abort(self, request: pb.VerbRequest, context: grpc.aio.ServicerContext) -> Message:  # noqa: N802
        """Give stable all traffic back."""
        return await self._written("Abort", request, context, self._steering(EventKind.ABORT))

    async def GetRollout(self, request: pb.GetRolloutRequest, context: grpc.aio.ServicerContext) -> Message:  # noqa: N802
        """Return one rollout."""

        async def get(asked: pb.GetRolloutRequest) -> Message:
            return wire.rollout_message(await self._operations.get(asked.id))

        return await self._answered(request, context, get)

    async def ListRollouts(self, request: pb.ListRolloutsRequest, context: grpc.aio.ServicerContext) -> Message:  # noqa: N802
        """Return rollouts, the latest first."""

        async def find(asked: pb.ListRolloutsRequest) -> Message:
            model, active, limit = wire.listed_from(asked)
            found = await self._operations.find(model, active=active, limit=limit)
            return await asyncio.to_thread(wire.rollouts_message, found)

        return await self._answered(request, context, find)

    async def GetHistory(self, request: pb.GetRolloutRequest, context: grpc.aio.ServicerContext) -> Message:  # noqa: N802
        """Return why each step was taken, oldest line first."""

        async def history(asked: pb.GetRolloutRequest) -> Message:
            lines = await self._operations.history(asked.id)
            return await asyncio.to_thread(wire.history_message, asked.id, lines)

        return await self._answered(request, context, history)

    async def ExplainRollout(self, request: pb.GetRolloutRequest, context: grpc.aio.ServicerContext) -> Message:  # noqa: N802
        """Return a rollout in plain words; the leader says it where it answers, because it knows what is waited for."""

        async def explain(asked: pb.GetRolloutRequest) -> Message:
            if not self._to_leader.here:
                try:
                    return await self._to_leader.send("ExplainRollout", asked, context, _READ_S)
                except (NotLeading, Overloaded, AnsweredElsewhere) as error:
                    _LOG.info("%s is explained without the leader: %s", asked.id, error)
            return wire.explanation_message(asked.id, *await self._insight.explain(asked.id))

        return await self._answered(request, context, explain)

    async def PlanRollout(self, request: pb.RolloutSpec, context: grpc.aio.ServicerContext) -> Message:  # noqa: N802
        """Return how long each step of a rollout will take; at a follower the leader says it, who sees the traffic."""

        async def plan(asked: pb.RolloutSpec) -> Message:
            model = wire.plan_from(asked)
            return wire.plan_message(model.model, await self._insight.plan(model.spec()))

        return await self._written("PlanRollout", request, context, plan)

    async def ListAudit(self, request: pb.ListAuditRequest, context: grpc.aio.ServicerContext) -> Message:  # noqa: N802
        """Return who did what, the latest first."""

        async def audit(asked: pb.ListAuditRequest) -> Message:
            page = await self._operations.audit(wire.audit_query_from(asked))
            return await asyncio.to_thread(wire.audit_message, page)

        return await self._answered(request, context, audit)

    async def WatchRollout(self, request: pb.GetRolloutRequest, context: grpc.aio.ServicerContext) -> None:  # noqa: N802
        """Send a rollout's state, then each change until it is over; a client that falls behind is let go."""
        async with answering(context):
            if self.watchers >= self._max_watchers:
                raise Overloaded(f"{self._max_watchers} clients watch rollouts already; that is the limit")
            self.watchers += 1
            try:
                with self._feed.subscribe(request.id) as subscription:
                    # Read after the subscription began: what happens meanwhile comes behind it.
                    notice = await self._present(request.id)
                    await self._send(notice, context)
                    while not notice.final:
                        notice = await _next(subscription)
                        await self._send(notice, context)
            finally:
                self.watchers -= 1

    async def _start(self, request: pb.StartRolloutRequest) -> Message:
        asked = wire.start_from(request)
        return wire.rollout_message(await self._operations.start(asked.spec(), asked.actor, asked.request_id))

    def _steering(self, verb: EventKind) -> Callable[[pb.VerbRequest], Awaitable[Message]]:
        async def steer(request: pb.VerbRequest) -> Message:
            said = wire.verb_from(request)
            event = Event(verb, said.actor, said.reason)
            return wire.rollout_message(await self._operations.steer(request.id, event, said.request_id))

        return steer

    async def _present(self, rollout_id: str) -> Notice:
        return self._watch.present(await self._operations.get(rollout_id))

    async def _send(self, notice: Notice, context: grpc.aio.ServicerContext) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                await context.write(wire.state_message(notice.data))
        except TimeoutError as error:
            raise DeadlineExceeded(f"a state was not taken within {self._patience_s:g} s; read faster") from error

    async def _written(
        self,
        method: str,
        request: Asked,
        context: grpc.aio.ServicerContext,
        work: Callable[[Asked], Awaitable[Message]],
    ) -> Message:
        async def here_or_there(asked: Asked) -> Message:
            if self._to_leader.here:
                return await work(asked)
            return await self._to_leader.send(method, asked, context)

        return await self._answered(request, context, here_or_there)

    async def _answered(
        self, request: Asked, context: grpc.aio.ServicerContext, work: Callable[[Asked], Awaitable[Message]]
    ) -> Message:
        async with answering(context):
            size = request.ByteSize()
            if size > MAX_REQUEST_BYTES:
                raise PayloadTooLarge(f"the request has {size:,} bytes; expected at most {MAX_REQUEST_BYTES:,}")
            answer = await work(request)
            if (size := answer.ByteSize()) > MAX_ANSWER_BYTES:
                raise PayloadTooLarge(
                    f"the answer would have {size:,} bytes, and {MAX_ANSWER_BYTES:,} is what gRPC clients take; ask "
                    "for less with `limit`, or over REST"
                )
            return answer
        raise AssertionError("an error has ended the call")


async def _next(subscription: Subscription) -> Notice:
    """Return the next state.

    Raises:
        Unavailable: None will come.
    """
    while (notice := await subscription.next(_QUIET_S)) is None:
        if subscription.ended:
            raise Unavailable("the watch has ended: the controller stops, or its states were not read; watch again")
    return notice
