"""``penstock.v1.OutcomeService``: what became of answers, with the form, bounds and refusals of REST."""

from __future__ import annotations

from typing import Any

from services.core.errors import PayloadTooLarge
from services.gateway.control.feedback_desk import FeedbackDesk
from services.gateway.edge.feedback import items_of_values
from services.gateway.edge.grpc.documents import Behaviour, DocumentCall
from services.gateway.limits import MIB
from services.pb.penstock.v1 import outcomes_pb2

# As for a document over REST, and more than any call within the other bounds needs.
_MOST_BYTES = MIB
OUTCOME_SERVICE: str = outcomes_pb2.DESCRIPTOR.services_by_name["OutcomeService"].full_name


class FeedbackCall(DocumentCall):
    """One call of such a method: a message of many small parts takes much more memory than its bytes."""

    __slots__ = ()

    async def answer(self) -> None:
        """Answer what is not too long."""
        size = len(self.message)
        if size > _MOST_BYTES:
            raise PayloadTooLarge(
                f"the message has {size} bytes; feedback has at most {_MOST_BYTES}: send smaller batches"
            )
        await super().answer()


class Outcomes:
    """The service's methods.

    Args:
        desk: Passes outcomes on.
    """

    def __init__(self, desk: FeedbackDesk) -> None:
        self._desk = desk

    def behaviours(self) -> dict[str, tuple[type[Any], Behaviour]]:
        """Return each method's message and what it does."""
        return {"SendFeedback": (outcomes_pb2.SendFeedbackRequest, self._send_feedback)}

    async def _send_feedback(self, request: Any) -> Any:
        values = [
            {
                "id": one.id,
                "model_version": one.model_version if one.HasField("model_version") else None,
                "outcomes": dict(one.outcomes),
            }
            for one in request.feedback
        ]
        done = await self._desk.take(request.model, [item.told() for item in items_of_values(values)])
        answer = outcomes_pb2.SendFeedbackResponse()
        for one in done:
            answer.results.add(id=one.request_id, outcome=one.outcome, result=one.taken.value, reason=one.reason)
        return answer
