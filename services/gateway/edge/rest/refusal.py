"""Refusals that HTTP has a status of its own for, beside those of the error tree."""

from __future__ import annotations

from services.core.errors import InvalidRequest

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
