"""What Triton's HTTP errors mean in our error tree. Pure.

Triton tells several situations apart only by words, and the words below were read off Triton 2.51 (24.10).
"""

from __future__ import annotations

import re

import orjson

from services.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    PenstockError,
    Unavailable,
    Unimplemented,
    UpstreamFailure,
)

_QUEUE_FULL = "Exceeds maximum queue size"
_QUEUE_TIMEOUT = "Request timeout expired"
_NOT_LOADED = ("unknown model", "no available versions", "is not ready")
_MAX_WORDS = 2000
# What a Python-based model raises comes with the stack of its process behind it.
_TRACEBACK = re.compile(r"\s*\n\nAt:\n(?:[ \t]+\S.*(?:\n|$))+")

_BY_STATUS: dict[int, type[PenstockError]] = {
    404: NotFound,
    408: DeadlineExceeded,
    429: Overloaded,
    501: Unimplemented,
    503: Unavailable,
    504: DeadlineExceeded,
}
_SERVER_ERRORS = 500


def error_from(status: int, body: bytes) -> PenstockError:
    """Return the error for an answer that is not 200, with Triton's own words.

    A model that is not loaded is ``Unavailable``: the route table said that it is, so another replica may have it.
    """
    words = _words(body) or f"Triton answered with HTTP status {status} and no explanation"
    if _QUEUE_FULL in words:
        return Overloaded(words)
    if _QUEUE_TIMEOUT in words:
        return DeadlineExceeded(words)
    if any(hint in words for hint in _NOT_LOADED) and status in (400, 404, 503):
        return Unavailable(words)
    default = UpstreamFailure if status >= _SERVER_ERRORS or status < 400 else InvalidRequest  # noqa: PLR2004 - HTTP
    return _BY_STATUS.get(status, default)(words)


def without_traceback(words: str) -> str:
    """Return Triton's words without the Python stacks in them; those are in Triton's log."""
    return _TRACEBACK.sub("", words).rstrip("; \n")


def _words(body: bytes) -> str:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return without_traceback(body[:_MAX_WORDS].decode("utf-8", "replace").strip())
    words = document.get("error") if isinstance(document, dict) else document
    return without_traceback(str(words)[:_MAX_WORDS]) if words else ""
