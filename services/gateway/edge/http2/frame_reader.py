"""Cuts a byte stream into frames. No I/O, no meaning: bytes in, frames out, whatever the pieces they come in.

The payload of a DATA frame is handed on as it comes, without its padding, so nothing large is ever held here. Frames of
types that nobody knows are dropped in the same way. All others are short and are handed on whole.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.gateway.edge.http2.faults import Code, ConnectionFault
from services.gateway.edge.http2.frames import (
    CONTINUATION,
    DATA,
    END_STREAM,
    FRAME_HEAD,
    GOAWAY,
    HEAD_BYTES,
    HEADERS,
    PADDED,
    PREFACE,
    PUSH_PROMISE,
    SETTINGS,
)

_MOST_SETTINGS_BYTES = 6 * 128
_MOST_GOAWAY_BYTES = 4096
_SHORT = 64
UNKNOWN = CONTINUATION + 1


# Type, flags, stream, payload, size, begins.
#   type    every type that nobody knows is UNKNOWN and comes without its payload
#   flags   of the parts of a DATA frame only the last one has END_STREAM
#   payload of DATA without padding
#   size    for DATA the bytes of this part that flow control counts, for others the payload's length
#   begins  for DATA the whole frame's length in its first part, and -1 in the others
Frame = tuple[int, int, int, bytes, int, int]


class FrameReader:
    """Reads what one client sends.

    Args:
        max_frame_size: Longest frame that it may send.
        max_header_bytes: Longest payload of a HEADERS or CONTINUATION frame.
    """

    __slots__ = ("_data_left", "_flags", "_max_frame_size", "_pad_left", "_preface_left", "_rest", "_short_limits",
                 "_skip_left", "_stream_id")  # fmt: skip

    def __init__(self, max_frame_size: int, max_header_bytes: int) -> None:
        self._max_frame_size = max_frame_size
        self._short_limits = {
            HEADERS: max_header_bytes,
            CONTINUATION: max_header_bytes,
            PUSH_PROMISE: 0,
            SETTINGS: _MOST_SETTINGS_BYTES,
            GOAWAY: _MOST_GOAWAY_BYTES,
        }
        self._preface_left = PREFACE
        self._rest = b""
        # Of the DATA frame under way: payload and padding that are still to come.
        self._data_left = 0
        self._pad_left = 0
        self._flags = 0
        self._stream_id = 0
        self._skip_left = 0

    @property
    def holds(self) -> bool:
        """Whether the preface, or a frame that is held until it is complete, has begun and is not complete."""
        return bool(self._preface_left or self._rest)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Give the frames that these bytes complete.

        Raises:
            ConnectionFault: These bytes are no HTTP/2, or a frame is longer than it may be.
        """
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at, end = 0, len(data)
        if self._preface_left:
            at = self._preface(data)
        while True:
            if self._data_left or self._pad_left:
                if at == end:
                    return
                frame, at = self._part(data, at, end, -1)
                yield frame
            elif self._skip_left:
                skipped = min(self._skip_left, end - at)
                self._skip_left -= skipped
                at += skipped
            if at + HEAD_BYTES > end:
                self._rest = data[at:]
                return
            high, low, kind, flags, stream_id = FRAME_HEAD.unpack_from(data, at)
            length = high << 16 | low
            body = at + HEAD_BYTES
            if body + self._held_before_use(kind, flags, length) > end:
                self._rest = data[at:]
                return
            stream_id &= 0x7FFFFFFF
            if kind == DATA:
                at = self._begin_data(data, body, length, flags, stream_id)
                frame, at = self._part(data, at, end, length)
                yield frame
            elif kind > CONTINUATION:
                self._skip_left = length
                at = body
                yield UNKNOWN, 0, stream_id, b"", 0, -1
            else:
                at = body + length
                yield kind, flags, stream_id, data[body:at], length, -1

    def _held_before_use(self, kind: int, flags: int, length: int) -> int:
        """Return how many bytes of a payload have to be there before anything is done with it; checks its length."""
        if length > self._max_frame_size:
            raise ConnectionFault(
                Code.FRAME_SIZE_ERROR, f"a frame of {length} bytes; at most {self._max_frame_size} are taken"
            )
        if kind == DATA:
            return 1 if flags & PADDED and length else 0  # how much of it is padding
        if kind > CONTINUATION:
            return 0
        if length > self._short_limits.get(kind, _SHORT):
            raise _too_long(kind, length)
        return length

    def _preface(self, data: bytes) -> int:
        expected = self._preface_left
        found = data[: len(expected)]
        if not expected.startswith(found):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "this is no HTTP/2 client: its preface is missing")
        self._preface_left = expected[len(found) :]
        return len(found)

    def _begin_data(self, data: bytes, at: int, length: int, flags: int, stream_id: int) -> int:
        """Take note of a DATA frame's length and padding, and return where its payload begins."""
        if stream_id == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "DATA on stream 0")
        self._flags = flags
        self._stream_id = stream_id
        if not flags & PADDED:
            self._data_left = length
            return at
        padding = data[at] if length else 0
        if padding >= length:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"{padding} bytes of padding in a DATA frame of {length}")
        self._data_left = length - 1 - padding
        self._pad_left = padding
        return at + 1

    def _part(self, data: bytes, at: int, end: int, begins: int) -> tuple[Frame, int]:
        """Return what is there of the DATA frame under way, and where the next byte is."""
        stop = min(at + self._data_left, end)
        payload = data[at:stop]
        self._data_left -= stop - at
        size = stop - at
        if self._pad_left and not self._data_left:
            padding = min(self._pad_left, end - stop)
            self._pad_left -= padding
            size += padding
            stop += padding
        if begins >= 0 and self._flags & PADDED:
            size += 1
        flags = 0 if self._data_left or self._pad_left else self._flags & END_STREAM
        return (DATA, flags, self._stream_id, payload, size, begins), stop


def _too_long(kind: int, length: int) -> ConnectionFault:
    if kind == PUSH_PROMISE:
        return ConnectionFault(Code.PROTOCOL_ERROR, "a client cannot push")
    if kind in (HEADERS, CONTINUATION):
        return ConnectionFault(Code.ENHANCE_YOUR_CALM, f"a header block of {length} bytes and more")
    if kind in (SETTINGS, GOAWAY):
        return ConnectionFault(Code.ENHANCE_YOUR_CALM, f"a frame of type {kind} with {length} bytes")
    return ConnectionFault(Code.FRAME_SIZE_ERROR, f"a frame of type {kind} with {length} bytes")
