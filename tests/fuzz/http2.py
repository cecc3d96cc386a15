"""gRPC as it should not be: random and mutated frames, broken messages, header blocks that are none, floods."""

from __future__ import annotations

import asyncio
import random
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator

from hpack import Decoder, Encoder, HPACKError
from tritonclient.grpc import service_pb2

from tests.fuzz.listening import listened

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4
_SERVICE = "/inference.GRPCInferenceService/"
# UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS; and HTTP/2's own INTERNAL_ERROR.
_FAULTS = {"2", "13", "14", "15"}
_INTERNAL_ERROR = 2
_NO_STATUS = "-"

Chance = random.Random


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return any frame, right or wrong."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream & 0xFFFFFFFF) + payload


def headers(stream: int, method: str = "ModelInfer", *more: tuple[str, str], end: bool = False) -> bytes:
    """Return a HEADERS frame of a right call, unless ``more`` is wrong."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", _SERVICE + method), (":authority", "x")]
    fields += [("te", "trailers"), ("content-type", "application/grpc"), *more]
    block = Encoder()
    block.header_table_size = 0
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block.encode(fields))


def prefixed(message: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """Return a message with gRPC's five bytes in front of it."""
    return (
        bytes((flag & 0xFF,)) + struct.pack(">I", (len(message) if length is None else length) & 0xFFFFFFFF) + message
    )


def _infer() -> bytes:
    message = service_pb2.ModelInferRequest(model_name="echo", id="7", raw_input_contents=[b"\1\2"])
    message.inputs.add(name="INT8", datatype="INT8", shape=[1, 1, 2])
    message.outputs.add(name="INT8")
    message.parameters["x"].string_param = "y"
    return bytes(message.SerializeToString())


INFER = _infer()
_NAMED = service_pb2.ModelMetadataRequest(name="pair").SerializeToString()


def call(stream: int = 1, method: str = "ModelInfer", body: bytes | None = None, *more: tuple[str, str]) -> bytes:
    """Return the frames of a call."""
    body = prefixed(INFER) if body is None else body
    return headers(stream, method, *more) + frame(DATA, END_STREAM, stream, body)


_RIGHT = (
    call(),
    call(1) + call(3) + call(5),
    call(1, "ModelMetadata", prefixed(_NAMED)),
    call(1, "ModelStreamInfer", prefixed(INFER) * 3),
    call(1, "ServerLive", prefixed(b"")) + frame(PING, 0, 0, b"12345678"),
    headers(1) + frame(DATA, 0, 1, prefixed(INFER)[:9]) + frame(DATA, END_STREAM, 1, prefixed(INFER)[9:]),
)


def _opened(frames: bytes) -> bytes:
    return PREFACE + frame(SETTINGS, 0, 0) + frames


def random_frames(chance: Chance) -> bytes:
    """Return frames of any kind, some after a right call."""
    parts = [chance.choice(_RIGHT)] if chance.random() < 0.5 else []
    for _ in range(chance.randint(1, 12)):
        payload = chance.randbytes(chance.choice([0, 0, 1, 4, 5, 6, 8, 9, 30, 300]))
        stream = chance.choice([0, 0, 1, 1, 3, 2, 7, 1 << 30, (1 << 32) - 1])
        parts.append(frame(chance.randrange(13), chance.randrange(256), stream, payload))
    return _opened(b"".join(parts))


def mutated(chance: Chance) -> bytes:
    """Return right calls with some bytes changed, cut out or put in; at times the preface too."""
    data = bytearray(_opened(b"".join(chance.choice(_RIGHT) for _ in range(chance.randint(1, 2)))))
    first = 0 if chance.random() < 0.1 else len(PREFACE)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(first, len(data) + 1)
        what = chance.randrange(4)
        if what == 0:
            data[at : at + 1] = bytes((chance.randrange(256),))
        elif what == 1:
            del data[at : at + chance.randint(1, 20)]
        elif what == 2:
            data[at:at] = chance.randbytes(chance.randint(1, 20))
        elif len(data) > first + 10:
            del data[max(at, first + 9) :]
    return bytes(data)


def _damaged(chance: Chance, message: bytes) -> bytes:
    data = bytearray(message)
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(data))
        data[at : at + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 3))
        data += b"\0" * (not data)
    return bytes(data)


def broken_messages(chance: Chance) -> bytes:
    """Return calls whose frames are right, and whose messages, lengths, compression or metadata are not."""
    message = chance.choice([INFER, _damaged(chance, INFER), chance.randbytes(30), b""])
    packed = chance.choice([zlib.compress(message), _gzipped(message), message, _gzipped(b"\0" * 3_000_000)])
    body = chance.choice(
        [
            prefixed(message),
            prefixed(message, flag=1),
            prefixed(packed, flag=1),
            prefixed(message, flag=chance.randrange(2, 256)),
            prefixed(message, length=chance.choice([0, 1, len(message) + 1, len(message) - 1, 1 << 31, (1 << 32) - 1])),
            prefixed(message)[: chance.randrange(5)],
            prefixed(message) * 2,
            prefixed(message) + b"\0",
            b"",
        ]
    )
    more = chance.choice(
        [
            (),
            (("grpc-encoding", chance.choice(["gzip", "deflate", "identity", "br", "", "gzip, gzip"])),),
            (("grpc-timeout", chance.choice(["1n", "-1S", "99999999999S", "1", "S", "1x", "0S", "\u00e9"])),),
            (("content-type", chance.choice(["text/plain", "application/grpc+json", "", "application/grpc-web"])),),
            ((":method", "GET"),),
            ((":late", "x"),),
            (("Upper", "x"),),
            (("connection", "close"),),
            (("x-bin", "not base64 !"), ("x" * 2000, "y" * 20_000)),
            tuple((f"x{number}", "y") for number in range(300)),
        ]
    )
    methods = ["ModelInfer"] * 5 + [
        "ModelStreamInfer",
        "ModelStreamInfer",
        "Nothing",
        "",
        "ServerReady",
        "RepositoryModelLoad",
    ]
    return _opened(call(1, chance.choice(methods), body, *more) + call(3))


def _gzipped(data: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def header_blocks(chance: Chance) -> bytes:
    """Return header blocks that HPACK does not know, or that never end."""
    right = headers(1)[9:]
    block = chance.choice(
        [
            chance.randbytes(chance.randint(1, 60)),
            b"\xff" * 12,
            b"\x3f" + b"\xff" * 8 + b"\x01",
            b"\x3f\xe1\xff\x03" + right,
            b"\x80",
            b"\xc0" * 50,
            right[: chance.randrange(1, len(right))],
            _damaged(chance, right),
            b"\0\x7f\xff\xff\xff\xff\x0f" + b"x" * 100,
            right * 3,
        ]
    )
    frames = frame(
        HEADERS, chance.choice([END_HEADERS, END_HEADERS | END_STREAM, END_HEADERS | 8, END_HEADERS | 32]), 1, block
    )
    if chance.random() < 0.4:
        pieces = [block[start : start + 7] for start in range(0, len(block), 7)]
        frames = frame(HEADERS, 0, 1, b"") + b"".join(frame(CONTINUATION, 0, 1, piece) for piece in pieces)
        frames += chance.choice([frame(CONTINUATION, END_HEADERS, 1), frame(PING, 0, 0, b"12345678"), b"", frames * 20])
    return _opened(frames + call(3))


def floods(chance: Chance) -> bytes:
    """Return much of what costs a client nothing, windows that overflow, and calls that are given up."""
    count = chance.randint(50, 600)
    numbers = range(1, 2 * count, 2)
    return _opened(
        chance.choice(
            [
                b"".join(headers(stream) + frame(RST_STREAM, 0, stream, b"\0\0\0\x08") for stream in numbers),
                b"".join(call(stream) + frame(RST_STREAM, 0, stream, b"\0\0\0\x08") for stream in numbers),
                b"".join(headers(stream) for stream in numbers),
                frame(PING, 0, 0, b"12345678") * count,
                frame(SETTINGS, 0, 0) * count,
                frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
                + call()
                + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)),
                frame(SETTINGS, 0, 0, struct.pack(">HI", 1, (1 << 32) - 1)) + call(),
                frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 1)) + call(),
                headers(1) + frame(DATA, 0, 1) * count,
                headers(1) + frame(DATA, 0, 1, b"\0") * count,
                call() + frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 3,
                call() + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\0"),
                frame(PRIORITY, 0, 1, b"\0\0\0\x01\x10") * count,
                call() + frame(GOAWAY, 0, 0, b"\0" * 8) + call(3),
                frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01") * count + call(),
            ]
        )
    )


KINDS: tuple[Callable[[Chance], bytes], ...] = (random_frames, mutated, broken_messages, header_blocks, floods)


async def send(port: int, data: bytes, seen: Counter[str], *, pieces: bool, gone: bool) -> None:
    """Send bytes on a connection of their own, and read what is answered: it must be no fault of the gateway.

    Args:
        port: The gateway's.
        data: What to send.
        seen: Every gRPC status that came is counted here; ``-`` for no answer.
        pieces: Whether to send in two.
        gone: Whether the client is gone before it could be answered.
    """
    answer = b""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
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
    statuses = list(_statuses(answer))
    seen.update(statuses or [_NO_STATUS])
    assert not _FAULTS & set(statuses), f"{data!r:.3000} -> {statuses} {answer!r:.1500}"


def _statuses(answer: bytes) -> Iterator[str]:
    """Return the gRPC statuses of an answer; a 5xx of HTTP and INTERNAL_ERROR of HTTP/2 count as INTERNAL."""
    decoder = Decoder()
    while len(answer) >= 9:
        length, kind = int.from_bytes(answer[:3], "big"), answer[3]
        payload, answer = answer[9 : 9 + length], answer[9 + length :]
        if kind == HEADERS and len(payload) == length:
            try:
                fields = {bytes(name): bytes(value) for name, value in decoder.decode(payload, raw=True)}
            except HPACKError as error:
                raise AssertionError(f"the gateway writes a header block that is none: {payload!r}") from error
            if fields.get(b":status", b"200") >= b"500":
                yield "13"
            if b"grpc-status" in fields:
                yield fields[b"grpc-status"].decode()
        elif kind in (RST_STREAM, GOAWAY) and payload[-4:] and kind == RST_STREAM:
            yield "13" if int.from_bytes(payload, "big") == _INTERNAL_ERROR else "reset"
        elif kind == GOAWAY:
            yield "13" if int.from_bytes(payload[4:8], "big") == _INTERNAL_ERROR else "goaway"
