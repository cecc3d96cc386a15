"""HTTP/1.1 as it should not be: mutated requests, games with headers, bad chunks, damaged JSON."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable

from tests.fuzz.listening import listened
from tests.fuzz.watched import BODY

_INFER = b"/v2/models/echo/infer"
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
# RFC 9110: a method, a coding or a version of HTTP that is not known is told by one of these.
_HONEST = {501, 505}

Chance = random.Random


def request(body: bytes = BODY, *lines: bytes, target: bytes = _INFER, method: bytes = b"POST") -> bytes:
    """Return a right request, unless its lines are wrong."""
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: x", length, *lines, b"", b""]) + body


def chunked(body: bytes = BODY, size: int = 7) -> bytes:
    """Return a right request in chunks."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    head = b"POST " + _INFER + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + coded + b"0\r\n\r\n"


_RIGHT = (
    request(),
    chunked(),
    request(b"", target=b"/v2/models/pair", method=b"GET"),
    request(b"", target=b"/v2/health/ready", method=b"GET"),
    request(b"{}", target=b"/v2/repository/index"),
    request() + request(b"", target=b"/v2", method=b"GET") + chunked(),
)
_TOKENS = (
    b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"\t", b"%00", b"%2e%2e/", b"HTTP/1.0", b"HTTP/2.0",
    b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n", b"Expect: 100-continue\r\n", b"Content-Encoding: gzip\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Inference-Header-Content-Length: 9\r\n",
    b"99999999999999999999", b"ffffffffffffffff", b"\xff\xfe", b"[", b"{", b'"', b"X" * 5000,
)  # fmt: skip


def mutated(chance: Chance) -> bytes:
    """Return right requests with some bytes changed, cut out, doubled or put in."""
    data = bytearray(chance.choice(_RIGHT))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        length = chance.randint(0, 12)
        what = chance.randrange(5)
        if what == 0:
            data[at : at + 1] = bytes((chance.randrange(256),))
        elif what == 1:
            del data[at : at + length]
        elif what == 2:
            data[at:at] = data[at : at + length]
        elif what == 3:
            data[at:at] = chance.choice(_TOKENS)
        else:
            del data[at:]
        if not data:
            data += b"G"
    return bytes(data)


def noise(chance: Chance) -> bytes:
    """Return bytes that are nothing, at times after a beginning that is something."""
    beginning = chance.choice(
        [b"", b"", b"POST ", b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01"]
    )
    return beginning + chance.randbytes(chance.randint(1, 400))


def head_game(chance: Chance) -> bytes:
    """Return a request whose head contradicts itself or the grammar."""
    lines = chance.choice(
        [
            (b"Content-Length: 5",),
            (b"Content-Length: +76",),
            (b"Content-Length: 76, 76",),
            (b"Content-Length : 76",),
            (b"Transfer-Encoding: chunked",),
            (b"Transfer-Encoding: chunked, identity",),
            (b"Transfer-Encoding: xchunked",),
            (b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: chunked"),
            (b" folded: x",),
            (b"X: a\r\n b",),
            (b"X y: z",),
            (b": nameless",),
            (b"Host: y",),
            (b"Host:",),
            (b"X: " + b"a" * 70_000,),
            tuple(b"X%d: a" % number for number in range(300)),
            (b"Expect: 100-continue",),
            (b"Expect: nothing",),
            (b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
            (b"Connection: close, keep-alive, upgrade", b"Upgrade: websocket"),
            (b"Content-Encoding: gzip",),
            (b"Content-Encoding: gzip, gzip, gzip",),
            (b"Inference-Header-Content-Length: 99999999999999999999",),
            (b"Inference-Header-Content-Length: -1",),
            (b"penstock-routing-key: \xff\xfe",),
            (b"traceparent: 00-zz",),
            (b"X: a\0b",),
        ]
    )
    targets = [_INFER] * 6 + [
        b"http://x/v2",
        b"*",
        b"",
        b"/" + b"a" * 9000,
        b"/v2/models/%ff/infer",
        b"/v2/models/../infer",
        b"//",
    ]
    methods = [b"POST"] * 6 + [b"CONNECT", b"OPTIONS", b"TRACE", b"PRI", b"G" * 40, b"post", b"HEAD"]
    return request(BODY, *lines, target=chance.choice(targets), method=chance.choice(methods))


def bad_chunks(chance: Chance) -> bytes:
    """Return a request in chunks, some of which are none."""
    head = b"POST " + _INFER + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [
        b"4\r\n{\"in\r\n", b"-1\r\n", b"0x4\r\nabcd\r\n", b"4 \r\nabcd\r\n", b"4;a=b\r\nabcd\r\n", b"4\nabcd\n",
        b"FFFFFFFFFFFFFFFF\r\nabcd", b"fffffffffffffffff\r\n", b"\r\n", b"g\r\n", b"4\r\nabcdXX", b"4\r\nabc\r\n",
        b"0\r\nTrailer: x\r\n\r\n", b"0\r\n" + b"T: x\r\n" * 300 + b"\r\n", b"1;" + b"e" * 9000 + b"\r\nx\r\n",
        b"00000000000000000000000004\r\nabcd\r\n", b"0\r\n\r\n",
    ]  # fmt: skip
    return head + b"".join(chance.choice(pieces) for _ in range(chance.randint(1, 5)))


_JSON = (
    b'{"id":"7","inputs":[{"name":"INT8","datatype":"INT8","shape":[1,1,2],"data":[1,2]}],'
    b'"outputs":[{"name":"INT8","parameters":{"classification":1}}],"parameters":{"priority":1,"x":"y"}}'
)
_JSON_TOKENS = (
    b"null", b"true", b"1e999", b"-0", b"1e-999", b"NaN", b"-Infinity", b"9" * 400, b"0." + b"3" * 400, b"[]", b"{}",
    b"18446744073709551616", b"-9223372036854775809", b"[[[[1]]]]", b'{"":{}}', b",", b":", b"//", b"'",
    b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b'"\\u0000"', b"\xef\xbb\xbf",
    b"[" * 100_000, b'{"a":' * 3000, b"[" * 60 + b"]" * 60, b'"' + b"n" * 3000 + b'"',
)  # fmt: skip


def damaged_json(chance: Chance) -> bytes:
    """Return a request whose head is right and whose JSON is not."""
    parts = re.split(rb'([\[\]{},:]|"[^"]*"|-?\d+)', _JSON)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(parts))
        parts[at] = chance.choice([b"", parts[at] * 2, chance.choice(_JSON_TOKENS), chance.choice(parts)])
    return request(b"".join(parts))


KINDS: tuple[Callable[[Chance], bytes], ...] = (
    mutated,
    mutated,
    noise,
    head_game,
    bad_chunks,
    damaged_json,
    damaged_json,
)


async def send(port: int, data: bytes, seen: Counter[int], *, pieces: bool, gone: bool) -> None:
    """Send bytes on a connection of their own, and read what is answered: it must be no fault of the gateway.

    Args:
        port: The gateway's.
        data: What to send.
        seen: Every status that came is counted here; 0 for no answer.
        pieces: Whether to send in two.
        gone: Whether the client is gone before it could be answered.
    """
    answer = b""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        raise AssertionError(f"the gateway takes no connection: {error}") from error
    try:
        middle = len(data) // 2 if pieces else 0
        writer.write(data[:middle])
        await writer.drain()
        writer.write(data[middle:])
        await writer.drain()
        if gone:
            writer.transport.abort()
            return
        answer = await listened(reader, writer)
    except OSError:
        pass  # it may close on nonsense at any time
    finally:
        writer.close()
    statuses = [int(status) for status in _STATUS.findall(answer)]
    seen.update(statuses or [0])
    faults = [status for status in statuses if status >= 500 and status not in _HONEST]
    assert not faults, f"{data[:2000]!r} -> {answer[:1000]!r}"
