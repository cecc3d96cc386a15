"""What Triton's errors mean in our error tree, over HTTP and over gRPC. Pure.

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
from services.triton.faults import Broken, ModelProcessDied, NotLoaded, NotSent

_QUEUE_FULL = "Exceeds maximum queue size"
_QUEUE_TIMEOUT = "Request timeout expired"
_NOT_LOADED = ("unknown model", "no available versions", "is not ready", "has stopped accepting")
_PROCESS_DIED = re.compile(r"Stub process .* is not healthy|stub process.*(exited|died)", re.IGNORECASE)
# What a request that does not fit its model is told, and what gRPC says of a connection that is lost or never was.
_UNFIT = re.compile(r"unexpected (shape|datatype|inference (in|out)put)|expected \d+ inputs but got|must specify")
_NO_CONNECTION = "failed to connect to all addresses"
_LOST_CONNECTION = re.compile(r"socket|connect|transport|channel|goaway|broken pipe|reset", re.IGNORECASE)
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

# The same by number of the gRPC status code; what is not here is the model's or Triton's failure.
_BY_CODE: dict[int, type[PenstockError]] = {
    3: InvalidRequest,  # INVALID_ARGUMENT
    4: DeadlineExceeded,
    5: NotFound,
    6: InvalidRequest,  # ALREADY_EXISTS: Triton's word for a conflict between requests
    8: Overloaded,  # RESOURCE_EXHAUSTED
    11: InvalidRequest,  # OUT_OF_RANGE
    12: Unimplemented,
    14: Unavailable,
}
_UNAVAILABLE = 14


def error_from(status: int, body: bytes) -> PenstockError:
    """Return the error for an HTTP answer that is not 200, with Triton's own words.

    A model that is not loaded is ``Unavailable``: the route table said that it is, so another replica may have it.
    """
    words = _words(body) or f"Triton answered with HTTP status {status} and no explanation"
    client = status < _SERVER_ERRORS and status >= 400  # noqa: PLR2004 - HTTP
    return _by_words(words, may_lack=status in (400, 404, 503)) or _BY_STATUS.get(
        status, InvalidRequest if client else UpstreamFailure
    )(words)


def error_from_grpc(code: int, words: str) -> PenstockError:
    """Return the error for a gRPC status other than OK.

    A status that no Triton wrote, because the connection was lost, is ``Broken``: gRPC tells it only by its words.
    """
    words = without_traceback(words[:_MAX_WORDS]) or f"Triton answered with gRPC status {code} and no explanation"
    found = _by_words(words, may_lack=code in (3, 5, _UNAVAILABLE))
    if found is not None:
        return found
    if code == _UNAVAILABLE and _NO_CONNECTION in words:
        return NotSent(words)
    if code == _UNAVAILABLE and _LOST_CONNECTION.search(words):
        return Broken(words)
    return _BY_CODE.get(code, UpstreamFailure)(words)


def error_from_stream(words: str) -> PenstockError:
    """Return the error for a message in a stream, which comes without a code."""
    words = without_traceback(words[:_MAX_WORDS])
    found = _by_words(words, may_lack=True)
    if found is not None:
        return found
    return InvalidRequest(words) if _UNFIT.search(words) else UpstreamFailure(words)


def without_traceback(words: str) -> str:
    """Return Triton's words without the Python stacks in them; those are in Triton's log."""
    return _TRACEBACK.sub("", words).rstrip("; \n")


def _by_words(words: str, *, may_lack: bool) -> PenstockError | None:
    if _QUEUE_FULL in words:
        return Overloaded(words)
    if _QUEUE_TIMEOUT in words:
        return DeadlineExceeded(words)
    if _PROCESS_DIED.search(words):
        return ModelProcessDied(words)
    if may_lack and any(hint in words for hint in _NOT_LOADED):
        return NotLoaded(words)
    return None


def _words(body: bytes) -> str:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return without_traceback(body[:_MAX_WORDS].decode("utf-8", "replace").strip())
    words = document.get("error") if isinstance(document, dict) else document
    return without_traceback(str(words)[:_MAX_WORDS]) if words else ""
