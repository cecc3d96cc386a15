"""``POST /v2/models/{model}/feedback``: what became of answers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from services.core.errors import InvalidRequest
from services.core.feedback import MAX_BATCH, MAX_ID
from services.gateway.control.feedback_desk import FeedbackDesk, Told
from services.gateway.edge.rest.openapi import BODY_ERRORS, Model, errors

_SHOWN_FAULTS = 3


class FeedbackItem(BaseModel):
    """What became of one request."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=MAX_ID, description="Id of the inference request.")
    model_version: int | None = Field(None, description="The version that answered it, as its answer says.")
    outcomes: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        min_length=1, max_length=8, description="Values by name of the outcome."
    )

    def told(self) -> Told:
        """Return it as the desk takes it."""
        return Told(self.id, self.model_version, self.outcomes)


class FeedbackResult(BaseModel):
    """What was done with an outcome."""

    id: str
    outcome: str
    result: str = Field(description="stored, repeated, or conflicting: another one came first, and counts.")


class FeedbackAnswer(BaseModel):
    """What was done with each outcome, in their order."""

    results: list[FeedbackResult]


_BODY: TypeAdapter[FeedbackItem | list[FeedbackItem]] = TypeAdapter(
    FeedbackItem | Annotated[list[FeedbackItem], Field(min_length=1, max_length=MAX_BATCH)]
)
_EXTRA: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": FeedbackItem.model_json_schema()}}}
}


def feedback_router(desk: FeedbackDesk) -> APIRouter:
    """Return the route to the desk."""
    router = APIRouter(tags=["models"])

    @router.post(
        "/v2/models/{model}/feedback",
        response_model=FeedbackAnswer,
        responses=errors(404, 409, 415, 503, *BODY_ERRORS),
        openapi_extra=_EXTRA,
        summary="Outcomes of requests of an A/B test: one object, or a list of them",
    )
    async def feedback(model: Model, request: Request) -> FeedbackAnswer:
        taken = await desk.take(model, [item.told() for item in items_of(await request.body())])
        results = [FeedbackResult(id=one.request_id, outcome=one.outcome, result=how.value) for one, how in taken]
        return FeedbackAnswer(results=results)

    return router


def items_of(body: bytes) -> list[FeedbackItem]:
    """Parse whatever the content type says, as the other documents do."""
    try:
        found = _BODY.validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False)[:_SHOWN_FAULTS]
        words = "; ".join(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in faults)
        raise InvalidRequest(
            f'feedback is {{"id": "the request\'s id", "outcomes": {{"clicked": 1}}}} or a list of these: {words}'
        ) from error
    return found if isinstance(found, list) else [found]
