"""``POST /v2/models/{model}/feedback``: what became of answers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from services.gateway.control.feedback_desk import FeedbackDesk
from services.gateway.edge.feedback import FeedbackItem, items_of_json
from services.gateway.edge.rest.openapi import BODY_ERRORS, Model, errors


class FeedbackResult(BaseModel):
    """What was done with an outcome."""

    id: str
    outcome: str
    result: str = Field(
        description="stored, repeated, or conflicting: another one came first, and counts; or what reason says."
    )
    reason: str | None = Field(
        None, description="Why nothing was stored: another version answered here than model_version says."
    )


class FeedbackAnswer(BaseModel):
    """What was done with each outcome, in their order."""

    results: list[FeedbackResult]


_EXTRA: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": FeedbackItem.model_json_schema()}}}
}


def feedback_router(desk: FeedbackDesk) -> APIRouter:
    """Return the route to the desk."""
    router = APIRouter(tags=["models"])

    @router.post(
        "/v2/models/{model}/feedback",
        response_model=FeedbackAnswer,
        response_model_exclude_none=True,
        responses=errors(404, 409, 415, 503, *BODY_ERRORS),
        openapi_extra=_EXTRA,
        summary="Outcomes of requests of an A/B test: one object, or a list of them",
    )
    async def feedback(model: Model, request: Request) -> FeedbackAnswer:
        # Whatever the content type says, as the other documents do.
        done = await desk.take(model, [item.told() for item in items_of_json(await request.body())])
        results = [
            FeedbackResult(id=one.request_id, outcome=one.outcome, result=one.taken.value, reason=one.reason or None)
            for one in done
        ]
        return FeedbackAnswer(results=results)

    return router
