"""Ends of a request that are no error of ours: values of the label ``outcome`` beside those of ``Status.outcome``."""

from __future__ import annotations

from typing import Final

from services.core.errors import DeadlineExceeded, status_of

# The client went away after a version was asked: how long it waited at least is evidence about that version.
CANCELLED: Final = "cancelled"
# The client went away before that.
WITHDRAWN: Final = "withdrawn"
# The client's time was over before that.
EXPIRED: Final = "expired"


def departed(*, forwarded: bool, late: bool) -> str:
    """Return how a request ended whose client went away.

    Args:
        forwarded: Whether a version was asked.
        late: Whether the request's time was over.
    """
    if late:
        return status_of(DeadlineExceeded()).outcome if forwarded else EXPIRED
    return CANCELLED if forwarded else WITHDRAWN
