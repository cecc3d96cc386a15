"""What a client tells of its requests, held to the same form and bounds over REST and gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from services.core.errors import InvalidRequest
from services.core.rollouts.feedback import MAX_BATCH, MAX_ID
from services.gateway.control.feedback_desk import Told

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


FeedbackItems = Annotated[list[FeedbackItem], Field(min_length=1, max_length=MAX_BATCH)]
_ONE_OR_MORE: TypeAdapter[FeedbackItem | list[FeedbackItem]] = TypeAdapter(FeedbackItem | FeedbackItems)
_SEVERAL: TypeAdapter[list[FeedbackItem]] = TypeAdapter(FeedbackItems)


def items_of_json(body: bytes) -> list[FeedbackItem]:
    """Parse one item or a list of them.

    Raises:
        InvalidRequest: It is neither.
    """
    try:
        found = _ONE_OR_MORE.validate_json(body)
    except ValidationError as error:
        raise InvalidRequest(
            'feedback is {"id": "the request\'s id", "outcomes": {"clicked": 1}} or a list of these: ' + _faults(error)
        ) from error
    return found if isinstance(found, list) else [found]


def items_of_values(values: Sequence[dict[str, Any]]) -> list[FeedbackItem]:
    """Check items that came as values.

    Raises:
        InvalidRequest: One is not as it should be, or there are none or too many.
    """
    try:
        return _SEVERAL.validate_python(values)
    except ValidationError as error:
        raise InvalidRequest(
            f"feedback is 1 to {MAX_BATCH} requests, each with its id and outcomes such as clicked: 1: {_faults(error)}"
        ) from error


def _faults(error: ValidationError) -> str:
    faults = error.errors(include_url=False)[:_SHOWN_FAULTS]
    return "; ".join(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in faults)
