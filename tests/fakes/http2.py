"""An HTTP/2 server core in memory, an application that records or echoes, and frames as clients write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from services.gateway.edge.http2 import frames
from services.gateway.edge.http2.bounds import Bounds
from services.gateway.edge.http2.connection import Connection
from services.gateway.edge.http2.head import Head
from services.gateway.edge.http2.header_block import encode
from services.gateway.edge.http2.stream import Stream

HELLO = frames.PREFACE + frames.settings(())
REQUEST = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/echo"),
    (b":authority", b"here"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
]
ANSWER_HEAD = encode([(b":status", b"200")])
ANSWER_END = encode([(b"grpc-status", b"0")])


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return any frame, right or wrong."""
    return frames.frame_head(len(payload), kind, flags, stream_id) + payload


def headers(
    stream_id: int, fields: list[tuple[bytes, bytes]] | None = None, *, end: bool = False, flags: int = 0
) -> bytes:
    """Return a HEADERS frame without any indexing."""
    block = literal(REQUEST if fields is None else fields)
    return frame(frames.HEADERS, frames.END_HEADERS | (frames.END_STREAM if end else 0) | flags, stream_id, block)


def literal(fields: list[tuple[bytes, bytes]]) -> bytes:
    """Return a header block of literals that leave the table alone, whatever the fields are."""
    block = b""
    for name, value in fields:
        block += b"\0" + _text(name) + _text(value)
    return block


def _text(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest, coded = len(text) - 127, b"\x7f"
    while rest >= 128:
        coded += bytes((rest & 127 | 128,))
        rest >>= 7
    return coded + bytes((rest,)) + text


@dataclass
class Recorder:
    """A receiver that keeps what happens, and answers when the request is complete.

    Attributes:
        body: What came.
        ended: How often the end was told.
        left: How often the client's departure was told.
        lateness: How often lateness was told.
        taken: How often ``sent`` was told.
    """

    connection: Connection
    stream: Stream
    application: RecordingApplication
    body: bytes = b""
    ended: int = 0
    left: int = 0
    lateness: int = 0
    taken: int = 0

    def data(self, payload: bytes, ended: bool) -> None:
        self.body += payload
        if self.application.gives_room:
            self.connection.consumed(self.stream, len(payload))
        if ended:
            self.ended += 1
            if self.application.answers:
                self.connection.sender.answer(self.stream, ANSWER_HEAD, [self.body], len(self.body), ANSWER_END)

    def sent(self) -> None:
        self.taken += 1

    def gone(self) -> None:
        self.left += 1

    def late(self) -> None:
        self.lateness += 1


@dataclass
class RecordingApplication:
    """Begins a recorder for each request.

    Attributes:
        answers: Whether complete requests are echoed.
        gives_room: Whether what comes is taken at once.
        begun: Every recorder, by stream.
        reads: How many heads were read.
    """

    answers: bool = True
    gives_room: bool = True
    begun: dict[int, Recorder] = field(default_factory=dict)
    reads: int = 0

    def read(self, head: Head) -> Any:
        self.reads += 1
        return head.pseudo[b":path"], tuple(head.fields)

    def begin(self, connection: Connection, stream: Stream, ended: bool) -> None:
        recorder = Recorder(connection, stream, self)
        self.begun[stream.id] = recorder
        stream.receiver = recorder
        if ended:
            recorder.data(b"", True)


class Peer:
    """A connection in memory, and what came out of it.

    Args:
        application: Who answers.
        bounds: What the client may do.
    """

    def __init__(self, application: RecordingApplication | None = None, bounds: Bounds | None = None) -> None:
        self.application = application or RecordingApplication()
        self.output = bytearray()
        self.done = 0
        self.now = 100.0
        self.connection = Connection(self.application, bounds or Bounds(), self._sent, self._over, self.now)
        self.connection.start()

    def send(self, *data: bytes) -> list[tuple[int, int, int, bytes]]:
        """Give the core bytes, and return the frames of its answer."""
        for part in data:
            self.connection.receive(part, self.now)
        return self.taken()

    def taken(self) -> list[tuple[int, int, int, bytes]]:
        """Return the frames that were sent since the last look: type, flags, stream, payload."""
        found = split(bytes(self.output))
        self.output.clear()
        return found

    def _sent(self, data: Any) -> None:
        self.output += data

    def _over(self) -> None:
        self.done += 1


def split(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Return the frames of a byte string."""
    found, at = [], 0
    while at < len(data):
        high, low, kind, flags, stream_id = frames.FRAME_HEAD.unpack_from(data, at)
        end = at + frames.HEAD_BYTES + (high << 16 | low)
        found.append((kind, flags, stream_id, data[at + frames.HEAD_BYTES : end]))
        at = end
    return found


def goaway_code(found: list[tuple[int, int, int, bytes]]) -> int | None:
    """Return the error code of the last GOAWAY frame, or None."""
    codes = [int.from_bytes(payload[4:8], "big") for kind, _, _, payload in found if kind == frames.GOAWAY]
    return codes[-1] if codes else None


def reset_code(found: list[tuple[int, int, int, bytes]], stream_id: int) -> int | None:
    """Return the error code of a stream's RST_STREAM frame, or None."""
    for kind, _, stream, payload in found:
        if kind == frames.RST_STREAM and stream == stream_id:
            return int.from_bytes(payload, "big")
    return None
