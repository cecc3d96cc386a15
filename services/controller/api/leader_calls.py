"""Calls that change something go on to the controller that leads, as over REST (``forwarding.py``): one hop, bounded.

Every call has a connection of its own: persons' verbs are rare, and the leader may be another one the next time.
"""

from __future__ import annotations

import grpc
from google.protobuf.message import Message

from services.controller.api.grpc_errors import AnsweredElsewhere
from services.controller.election.leadership import Mandate, NotLeading, other_leader
from services.core.errors import Overloaded
from services.pb.penstock.v1 import rollouts_pb2_grpc

_HOP = "penstock-forwarded-by"
_OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
_NO_ANSWER = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


class LeaderCalls:
    """Sends calls of ``RolloutService`` to the leader.

    Args:
        mandate: Who leads.
        timeout_s: Longest wait for its answer.
        max_calls: Bound on the calls that wait for one.
    """

    def __init__(self, mandate: Mandate, timeout_s: float = 10.0, max_calls: int = 16) -> None:
        self._mandate = mandate
        self._timeout_s = timeout_s
        self._max_calls = max_calls
        self._calls = 0

    @property
    def here(self) -> bool:
        """Whether this controller leads, and answers itself."""
        return self._mandate.held

    async def send(
        self, method: str, request: Message, context: grpc.aio.ServicerContext, timeout_s: float | None = None
    ) -> Message:
        """Return the leader's answer.

        Args:
            method: Of ``RolloutService``.
            request: Its message.
            context: The call that is passed on.
            timeout_s: Longest wait, where it is another than for all calls.

        Raises:
            NotLeading: There is no leader, or the call was forwarded already.
            Overloaded: As many calls wait as may.
            AnsweredElsewhere: The leader refused, or did not answer.
        """
        leader = other_leader(self._mandate)
        if leader is None or any(name == _HOP for name, _ in context.invocation_metadata() or ()):
            raise NotLeading(self._mandate.refusal())
        if self._calls >= self._max_calls:
            raise Overloaded(f"{self._calls} calls wait for the leader already; that is the limit, try again")
        self._calls += 1
        try:
            async with grpc.aio.insecure_channel(leader.grpc, options=_OPTIONS) as channel:
                call = getattr(rollouts_pb2_grpc.RolloutServiceStub(channel), method)
                answer: Message = await call(
                    request, timeout=timeout_s or self._timeout_s, metadata=((_HOP, self._mandate.me.instance),)
                )
        except grpc.aio.AioRpcError as error:
            raise self._refused(error) from error
        finally:
            self._calls -= 1
        context.set_trailing_metadata((("penstock-answered-by", leader.instance),))
        return answer

    def _refused(self, error: grpc.aio.AioRpcError) -> AnsweredElsewhere:
        said = error.details() or error.code().name
        if error.code() not in _NO_ANSWER:
            return AnsweredElsewhere(error.code(), said)
        words = f"{self._mandate.refusal()}, and could not be asked ({error.code().name}: {said}); try again"
        return AnsweredElsewhere(grpc.StatusCode.UNAVAILABLE, words)
