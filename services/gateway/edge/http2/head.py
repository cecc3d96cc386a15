"""Is a header list a request? RFC 9113, sections 8.2 and 8.3. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.gateway.edge.http2.hpack_reader import Header

# Lower-case tokens of RFC 9110.
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(rb"[\0\r\n]|^[ \t]|[ \t]$")
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_REQUIRED = (b":method", b":scheme", b":path")
_OF_THE_CONNECTION = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
_ENTRY_OVERHEAD_BYTES = 32
_MOST_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Head:
    """What a header list says.

    Attributes:
        fault: Why it is malformed; empty when it is not. Then nothing else counts.
        trailers: Whether it has no pseudo-header fields, as trailers must not.
        pseudo: ``:method``, ``:scheme``, ``:path`` and perhaps ``:authority``.
        fields: The other fields in order.
        content_length: Bytes of the body, or None when it does not say.
        size: Its size as SETTINGS_MAX_HEADER_LIST_SIZE counts it.
    """

    fault: str
    trailers: bool
    pseudo: dict[bytes, bytes]
    fields: list[Header]
    content_length: int | None
    size: int


def read_head(headers: list[Header]) -> Head:
    """Check a header list, a request's or trailers."""
    pseudo: dict[bytes, bytes] = {}
    fields: list[Header] = []
    size, fault = 0, ""
    content_length: int | None = None
    for name, value in headers:
        size += len(name) + len(value) + _ENTRY_OVERHEAD_BYTES
        fault = fault or _fault(name, value, pseudo, fields)
        if name[:1] == b":":
            pseudo[name] = value
            continue
        fields.append((name, value))
        if name == b"content-length":
            length = int(value) if value.isdigit() and len(value) <= _MOST_DIGITS else None
            if length is None or content_length not in (None, length):
                fault = fault or "content-length is no number, or two"
            content_length = length
    if pseudo and not fault:
        missing = [name.decode() for name in _REQUIRED if not pseudo.get(name)]
        fault = f"{', '.join(missing)} missing" if missing else ""
    return Head(fault, not pseudo, pseudo, fields, content_length, size)


def _fault(  # noqa: PLR0911 - one for each rule
    name: bytes, value: bytes, pseudo: dict[bytes, bytes], fields: list[Header]
) -> str:
    if name[:1] == b":":
        if name not in _PSEUDO:
            return f"{_shown(name)} is no pseudo-header field of a request"
        if name in pseudo:
            return f"{_shown(name)} twice"
        if fields:
            return f"{_shown(name)} after other fields"
    elif not _NAME.fullmatch(name):
        return f"{_shown(name)} is no name of a field: lower-case letters, digits and -"
    elif name in _OF_THE_CONNECTION:
        return f"{_shown(name)} belongs to connections of HTTP/1.1"
    elif name == b"te" and value != b"trailers":
        return "te is not 'trailers'"
    if _BAD_VALUE.search(value):
        return f"the value of {_shown(name)} has a line break, a NUL or white space around it"
    return ""


def _shown(name: bytes) -> str:
    return repr(name[:40])[1:]
