"""Heads of HTTP requests: what is read, what is refused, and that nobody else reads an accepted one differently."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.edge.rest.head import Head, parse_head
from services.gateway.edge.rest.refusal import HttpRefusal
from services.gateway.limits import Limits

LIMITS = Limits()
HOST = b"Host: x\r\n"


def _head(line: bytes = b"POST /v2 HTTP/1.1", fields: bytes = HOST, limits: Limits = LIMITS) -> Head:
    return parse_head(line + b"\r\n" + fields + b"\r\n", limits)


def test_a_head_is_read_whatever_the_case_and_the_blanks_of_its_headers() -> None:
    head = _head(fields=b"hOST:x\r\nContent-LENGTH: \t 12 \t\r\nX:\r\nY: a, b\r\n")
    assert head.headers == [(b"host", b"x"), (b"content-length", b"12"), (b"x", b""), (b"y", b"a, b")]
    assert (head.method, head.length, head.chunked, head.keep_alive, head.old) == (b"POST", 12, False, True, False)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/v2/models/a%2Fb/infer?x=1?y", b"/v2/models/a%2Fb/infer", b"x=1?y"),
        (b"http://host:8000/v2?q", b"/v2", b"q"),
        (b"HTTP://[::1]:80", b"/", b""),
        (b"http://host?q", b"/", b"q"),
        (b"//host/v2", b"//host/v2", b""),
        (b"/v2/../v2", b"/v2/../v2", b""),
    ],
)
def test_a_target_is_taken_as_it_is_spelled(target: bytes, path: bytes, query: bytes) -> None:
    head = _head(b"GET " + target + b" HTTP/1.1")
    assert (head.path, head.query) == (path, query)


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: foo, CLOSE\r\n", False),
        (b"1.1", b"Connection: keep-alive\r\nConnection: close\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: Keep-Alive\r\n", True),
        (b"1.0", b"Connection: keep-alive, close\r\n", False),
    ],
)
def test_who_keeps_a_connection(version: bytes, connection: bytes, keeps: bool) -> None:
    assert _head(b"GET / HTTP/" + version, HOST + connection).keep_alive is keeps


REFUSED = [
    (b"GET / HTTP/2.0", HOST, 505),
    (b"PRI * HTTP/2.0", b"", 505),
    (b"GET / HTTP/0.9", HOST, 505),
    (b"GET /", HOST, 400),
    (b"GET  / HTTP/1.1", HOST, 400),
    (b"GET / HTTP/1.1 ", HOST, 400),
    (b" GET / HTTP/1.1", HOST, 400),
    (b"GET\t/\tHTTP/1.1", HOST, 400),
    (b"GET / http/1.1", HOST, 400),
    (b"GET /\x00 HTTP/1.1", HOST, 400),
    (b"GET /a b HTTP/1.1", HOST, 400),
    (b"GET /\xc3\xa8 HTTP/1.1", HOST, 400),
    (b"GET v2 HTTP/1.1", HOST, 400),
    (b"GET * HTTP/1.1", HOST, 400),
    (b"GET /#part HTTP/1.1", HOST, 400),
    (b"GET http://user@host/ HTTP/1.1", HOST, 400),
    (b"GET ftp://host/ HTTP/1.1", HOST, 400),
    (b"GET / HTTP/1.1", b"", 400),
    (b"GET / HTTP/1.1", HOST + HOST, 400),
    (b"GET / HTTP/1.1", b"Host: a b\r\n", 400),
    (b"GET / HTTP/1.1", b"Host: a/b\r\n", 400),
    (b"GET / HTTP/1.1", HOST + b"No colon\r\n", 400),
    (b"GET / HTTP/1.1", HOST + b": no name\r\n", 400),
    (b"GET / HTTP/1.1", HOST + b"Blank : 1\r\n", 400),
    (b"GET / HTTP/1.1", HOST + b"X: a\r\n folded\r\n", 400),
    (b"GET / HTTP/1.1", HOST + b"X: a\r\n\tfolded\r\n", 400),
    (b"GET / HTTP/1.1", b" X: first\r\n" + HOST, 400),
    (b"GET / HTTP/1.1", HOST + b"X: a\nY: b\r\n", 400),
    (b"GET / HTTP/1.1", HOST + b"X: a\rY: b\r\n", 400),
    (b"GET / HTTP/1.1", HOST + b"X: \x00\r\n", 400),
    (b"GET / HTTP/1.1", HOST + b"X: \x7f\r\n", 400),
    (b"GET / HTTP/1.1\nX: y", HOST, 400),
    (b"POST / HTTP/1.1", HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n", 400),
    (b"POST / HTTP/1.1", HOST + b"Content-Length: 5, 5\r\n", 400),
    (b"POST / HTTP/1.1", HOST + b"Content-Length: +5\r\n", 400),
    (b"POST / HTTP/1.1", HOST + b"Content-Length: -5\r\n", 400),
    (b"POST / HTTP/1.1", HOST + b"Content-Length: 0x5\r\n", 400),
    (b"POST / HTTP/1.1", HOST + b"Content-Length: 5 5\r\n", 400),
    (b"POST / HTTP/1.1", HOST + b"Content-Length:\r\n", 400),
    (b"POST / HTTP/1.1", HOST + b"Content-Length: \xb2\r\n", 400),
    (b"POST / HTTP/1.1", HOST + b"Content-Length: 99999999999999999999\r\n", 400),
    (b"POST / HTTP/1.1", HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
    (b"POST / HTTP/1.1", HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
    (b"POST / HTTP/1.1", HOST + b"Transfer-Encoding: gzip, chunked\r\n", 501),
    (b"POST / HTTP/1.1", HOST + b"Transfer-Encoding: chunked, identity\r\n", 501),
    (b"POST / HTTP/1.1", HOST + b"Transfer-Encoding: \x0bchunked\r\n", 400),
    (b"POST / HTTP/1.1", HOST + b"Transfer-Encoding: xchunked\r\n", 501),
    (b"POST / HTTP/1.0", HOST + b"Transfer-Encoding: chunked\r\n", 400),
    (b"POST / HTTP/1.1", HOST + b"Expect: 200-ok\r\n", 417),
    (b"GET /" + b"x" * 9000 + b" HTTP/1.1", HOST, 414),
    (b"GET / HTTP/1.1", HOST + b"X: y\r\n" * 128, 431),
]


@pytest.mark.parametrize(("line", "fields", "status"), REFUSED)
def test_what_could_be_read_in_two_ways_or_not_at_all_is_refused(line: bytes, fields: bytes, status: int) -> None:
    with pytest.raises(HttpRefusal) as refused:
        _head(line, fields)
    assert refused.value.status == status
    assert 20 < len(str(refused.value)) < 400
    assert str(refused.value).isprintable()


_PIECE = st.sampled_from(
    b"GET|POST| |/|/v2?x| HTTP/1.1| HTTP/1.0|\r\n|\n|\r|Host: x|\t|:|Content-Length: 5|Content-Length:|,|\xff|*|\x00|"
    b"X: y|Transfer-Encoding: chunked|Connection: close|Expect: 100-continue|http://x/".split(b"|")
)


@settings(max_examples=1500)
@given(pieces=st.lists(_PIECE, max_size=14), prefix=st.sampled_from([b"", b"GET / HTTP/1.1\r\nHost: x\r\n"]))
def test_whatever_is_accepted_is_read_the_same_by_another_implementation(pieces: list[bytes], prefix: bytes) -> None:
    raw = prefix + b"".join(pieces) + b"\r\n\r\n"
    raw = raw[: raw.index(b"\r\n\r\n") + 4]
    try:
        head = parse_head(raw, LIMITS)
    except HttpRefusal:
        return
    other = h11.Connection(h11.SERVER)
    other.receive_data(raw)
    event = other.next_event()
    assert isinstance(event, h11.Request)
    assert bytes(event.method) == head.method
    assert [(bytes(name), bytes(value)) for name, value in event.headers] == head.headers
    framing = {bytes(name): bytes(value) for name, value in event.headers}
    assert head.chunked == (b"transfer-encoding" in framing)
    assert head.length == (int(framing[b"content-length"]) if b"content-length" in framing else None)
