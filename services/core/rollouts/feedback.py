"""What became of one answer, as a client tells it, and what was done with that."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.core.errors import InvalidRequest

MAX_BATCH = 256
MAX_ID = 200
# Of one A/B test: some gigabytes of a database, and more than any lift needs that matters.
MAX_OUTCOMES = 5_000_000


class Taken(StrEnum):
    """What was done with an outcome."""

    STORED = "stored"
    REPEATED = "repeated"  # it was known, and the same
    CONFLICTING = "conflicting"  # another one was known, which counts


@dataclass(frozen=True, slots=True)
class Feedback:
    """One outcome of one request.

    Attributes:
        request_id: The id that the request had, 1 to 200 characters.
        version: The version that answered it.
        outcome: Name of the outcome.
        value: What it was, on the outcome's own scale.
    """

    request_id: str
    version: int
    outcome: str
    value: float

    def __post_init__(self) -> None:
        checked_id(self.request_id)


def checked_id(request_id: str) -> str:
    """Return a request's id.

    Raises:
        InvalidRequest: It is empty, too long, or has a NUL, which no database keeps.
    """
    if not 1 <= len(request_id) <= MAX_ID or "\0" in request_id:
        raise InvalidRequest(
            f"a request id of {len(request_id)} characters; expected 1 to {MAX_ID} without NUL: the id of the "
            "inference request whose outcome this is"
        )
    return request_id
