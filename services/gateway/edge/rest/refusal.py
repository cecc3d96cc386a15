"""Refusals that HTTP has a status of its own for, beside those of the error tree."""

from __future__ import annotations

from services.core.errors import InvalidRequest
from services.gateway.limits import Limits

BAD_REQUEST = 400
METHOD_NOT_ALLOWED = 405
TIMEOUT = 408
LENGTH_REQUIRED = 411
URI_TOO_LONG = 414
EXPECTATION_FAILED = 417
HEADERS_TOO_LARGE = 431
NOT_IMPLEMENTED = 501
VERSION_NOT_SUPPORTED = 505

_SHOWN_BYTES = 80


class HttpRefusal(InvalidRequest):
    """A client's mistake in HTTP itself.

    Args:
        status: HTTP status code (RFC 9110, section 15).
        words: What was found, what was expected.
        fields: Header lines that belong to the status, each ending in CR LF.
    """

    def __init__(self, status: int, words: str, fields: bytes = b"") -> None:
        super().__init__(words)
        self.status = status
        self.fields = fields


def shown(data: bytes) -> str:
    """Return the beginning of what a client sent, in printable characters, for an error's words."""
    return repr(data[:_SHOWN_BYTES])[2:-1]


def late_head(limits: Limits) -> HttpRefusal:
    """Return the refusal of a head that takes too long."""
    return HttpRefusal(TIMEOUT, f"the request's head did not arrive within {limits.head_timeout_s:g} s; send it faster")


def late_body(received: int, waited_s: float, limits: Limits) -> HttpRefusal:
    """Return the refusal of a body that takes too long."""
    return HttpRefusal(
        TIMEOUT,
        f"the request's body did not arrive in time: {received} bytes after {waited_s:.1f} s; expected "
        f"{limits.min_transfer_bytes_per_s} bytes per second after the first {limits.body_grace_s:g} s",
    )


def too_large_head(limits: Limits) -> HttpRefusal:
    """Return the refusal of a head over the limit."""
    return HttpRefusal(
        HEADERS_TOO_LARGE, f"the request's head is larger than {limits.max_header_bytes} bytes; send shorter headers"
    )


def too_long_target(limits: Limits) -> HttpRefusal:
    """Return the refusal of a target over the limit."""
    return HttpRefusal(
        URI_TOO_LONG, f"the request's target is longer than {limits.max_url_bytes} bytes; send a shorter one"
    )
