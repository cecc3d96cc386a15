"""The head of an HTTP/1.1 request, read strictly. Pure: bytes in, a value out.

The grammar is RFC 9112's without its permissions to be lenient: what two implementations could read differently (bare
line feeds, folded lines, blanks before a colon, two lengths) is refused, because between a proxy and this gateway such
a difference hides one request inside another.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from services.gateway.edge.rest.refusal import (
    BAD_REQUEST,
    EXPECTATION_FAILED,
    HEADERS_TOO_LARGE,
    NOT_IMPLEMENTED,
    VERSION_NOT_SUPPORTED,
    HttpRefusal,
    shown,
    too_large_head,
    too_long_target,
)
from services.gateway.limits import Limits

END = b"\r\n\r\n"
# A request line is at most this much longer than its target.
_LINE_BYTES = 32
Headers = list[tuple[bytes, bytes]]

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
# A field's value: visible characters, blanks and the bytes from 0x80 on.
_FIELDS = re.compile(rb"(?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n")
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]++) HTTP/([0-9])\.([0-9])\r\n")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]*)([^#]*)")
# Host or IPv6 address, and a port (RFC 3986, 3.2.2).
_AUTHORITY = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_ONCE = frozenset({b"host", b"content-length", b"transfer-encoding", b"content-type", b"content-encoding", b"expect",
                   b"inference-header-content-length"})  # fmt: skip


class Head:
    """One request's head.

    Attributes:
        method: As it was sent; methods have a case.
        path: The target's path as it was sent, still percent-encoded.
        query: What follows the question mark; empty for none.
        headers: Names in lower case, values without blanks around them, in order of arrival.
        length: ``Content-Length``, or None without one.
        chunked: Whether the body comes in chunks.
        keep_alive: Whether the client wants to go on with the connection.
        old: Whether it is HTTP/1.0, whose connections close unless the answer says otherwise.
        expects: Whether the client waits for ``100 Continue`` before it sends the body.
    """

    __slots__ = ("chunked", "expects", "headers", "keep_alive", "length", "method", "old", "path", "query")

    def __init__(self, method: bytes, target: bytes, headers: Headers, *, old: bool) -> None:
        self.method = method
        self.headers = headers
        self.old = old
        self.path, _, self.query = target.partition(b"?")
        self.length: int | None = None
        self.chunked = False
        self.expects = False
        self.keep_alive = not old

    def value(self, name: bytes) -> bytes | None:
        """Return the first value of a header; None without one."""
        for found, value in self.headers:
            if found == name:
                return value
        return None


def parse_head(raw: bytes, limits: Limits) -> Head:
    """Read a head.

    Args:
        raw: From the request line to the empty line, both included.
        limits: Bounds on the target and on the number of headers.

    Raises:
        HttpRefusal: It is no request that this server takes; what follows on the connection cannot be understood.
    """
    line = _REQUEST_LINE.match(raw)
    if line is None:
        raise _no_request_line(raw, limits)
    method, target = line[1], line[2]
    if line[3] != b"1":
        raise HttpRefusal(VERSION_NOT_SUPPORTED, f"this is HTTP/{shown(line[3])}.{shown(line[4])}; send HTTP/1.1")
    if len(target) > limits.max_url_bytes:
        raise too_long_target(limits)
    if _FIELDS.fullmatch(raw, line.end()) is None:
        raise _no_header(raw[line.end() :])
    lines = raw[line.end() : -len(END)].split(b"\r\n") if len(raw) > line.end() + 2 else []
    if len(lines) > limits.max_headers:
        raise HttpRefusal(
            HEADERS_TOO_LARGE, f"the request has {len(lines)} headers; this gateway takes at most {limits.max_headers}"
        )
    headers = []
    for text in lines:
        name, _, value = text.partition(b":")
        headers.append((name.lower(), value.strip(b" \t")))
    head = Head(method, _origin_form(method, target), headers, old=line[4] == b"0")
    _interpret(head)
    return head


def hopeless(data: bytes, limits: Limits) -> HttpRefusal | None:
    """Return why the beginning of a head cannot become a request any more; None where it still can."""
    if not data[:1].isalpha() and data != b"\r":
        return HttpRefusal(BAD_REQUEST, f"this is no HTTP/1.1 request: it begins with '{shown(data)}'; send one")
    if data.count(b"\n") != data.count(b"\r\n"):
        return HttpRefusal(BAD_REQUEST, "a line of the request's head ends without CR LF; send both")
    if len(data) > limits.max_url_bytes + _LINE_BYTES and b"\r\n" not in data:
        return too_long_target(limits)
    if len(data) > limits.max_header_bytes:
        return too_large_head(limits)
    return None


def _interpret(head: Head) -> None:
    """Read what concerns the framing and the connection."""
    seen: set[bytes] = set()
    coding: bytes | None = None
    for name, value in head.headers:
        if name in _ONCE:
            if name in seen:
                raise HttpRefusal(BAD_REQUEST, f"the header {shown(name)} came twice; send it once")
            seen.add(name)
        if name == b"transfer-encoding":
            coding = value.lower()
        elif name in _READERS:
            _READERS[name](head, value)
    if b"host" not in seen and not head.old:
        raise HttpRefusal(BAD_REQUEST, "the request has no Host header, which HTTP/1.1 requires; send one")
    if coding is not None:
        _transfer_coding(head, coding)


def _length(head: Head, value: bytes) -> None:
    if not _LENGTH.fullmatch(value):
        raise HttpRefusal(BAD_REQUEST, f"Content-Length is '{shown(value)}'; expected a number of bytes")
    head.length = int(value)


def _host(_head: Head, value: bytes) -> None:
    if not _AUTHORITY.fullmatch(value):
        raise HttpRefusal(BAD_REQUEST, f"Host is '{shown(value)}'; expected a name or address, and a port")


def _expect(head: Head, value: bytes) -> None:
    if value.lower() != b"100-continue":
        raise HttpRefusal(EXPECTATION_FAILED, f"Expect is '{shown(value)}'; only 100-continue is known")
    head.expects = not head.old


def _connection(head: Head, value: bytes) -> None:
    options = [option.strip() for option in value.lower().split(b",")]
    if b"close" in options:
        head.keep_alive = False
    elif b"keep-alive" in options and head.old:
        head.keep_alive = True


_READERS: dict[bytes, Callable[[Head, bytes], None]] = {
    b"content-length": _length,
    b"host": _host,
    b"expect": _expect,
    b"connection": _connection,
}


def _transfer_coding(head: Head, coding: bytes) -> None:
    if head.length is not None:
        raise HttpRefusal(BAD_REQUEST, "the request has Content-Length and Transfer-Encoding; send one of them")
    if head.old:
        raise HttpRefusal(BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding; send Content-Length")
    if coding != b"chunked":
        raise HttpRefusal(NOT_IMPLEMENTED, f"Transfer-Encoding is '{shown(coding)}'; only chunked is served")
    head.chunked = True


def _origin_form(method: bytes, target: bytes) -> bytes:
    """Return path and query of a target that may name the server as well."""
    if target.startswith(b"/"):
        if b"#" in target:
            raise HttpRefusal(BAD_REQUEST, f"the request's target is '{shown(target)}'; fragments are not sent")
        return target
    if method == b"OPTIONS" and target == b"*":
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None and _AUTHORITY.fullmatch(absolute[1]):
        rest: bytes = absolute[2]
        return rest if rest.startswith(b"/") else b"/" + rest
    if method == b"CONNECT" and _AUTHORITY.fullmatch(target):
        return target
    raise HttpRefusal(
        BAD_REQUEST,
        f"the request's target is '{shown(target)}'; expected a path that begins with /, percent-encoded",
    )


def _no_request_line(raw: bytes, limits: Limits) -> HttpRefusal:
    line = raw.partition(b"\r\n")[0]
    if len(line) > limits.max_url_bytes + _LINE_BYTES:
        return too_long_target(limits)
    target = line.partition(b" ")[2].rpartition(b" ")[0]
    if target and not target.isascii():
        return HttpRefusal(
            BAD_REQUEST, f"the request's target is '{shown(target)}'; expected a path, percent-encoded ASCII"
        )
    return HttpRefusal(BAD_REQUEST, f"this is no HTTP/1.1 request: it begins with '{shown(line)}'; send one")


def _no_header(fields: bytes) -> HttpRefusal:
    for line in fields.split(b"\r\n"):
        if line and not _FIELDS.fullmatch(line + END):
            return HttpRefusal(BAD_REQUEST, f"'{shown(line)}' is no HTTP/1.1 header; send NAME: VALUE and CR LF")
    return HttpRefusal(BAD_REQUEST, "the request's headers are no HTTP/1.1; send NAME: VALUE and CR LF")
