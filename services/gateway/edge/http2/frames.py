"""Frames of RFC 9113 as bytes: their numbers, and how those that a server sends are written."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITIZED: Final = 0x20

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

HEAD_BYTES: Final = 9
DEFAULT_WINDOW: Final = 65_535
DEFAULT_FRAME_SIZE: Final = 16_384
DEFAULT_TABLE_SIZE: Final = 4096
LARGEST_FRAME_SIZE: Final = (1 << 24) - 1
LARGEST_WINDOW: Final = (1 << 31) - 1
LARGEST_STREAM_ID: Final = (1 << 31) - 1

# Length in two parts (upper 8 and lower 16 bits), type, flags, stream.
FRAME_HEAD: Final = Struct(">BHBBI")
_SETTING: Final = Struct(">HI")
_NUMBER: Final = Struct(">I")
_TWO_NUMBERS: Final = Struct(">II")


def frame_head(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """Return the nine bytes before a payload of ``length`` bytes."""
    return FRAME_HEAD.pack(length >> 16, length & 0xFFFF, kind, flags, stream_id)


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """Return a SETTINGS frame."""
    payload = b"".join([_SETTING.pack(name, value) for name, value in values])
    return frame_head(len(payload), SETTINGS, 0, 0) + payload


SETTINGS_ACK: Final = frame_head(0, SETTINGS, ACK, 0)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Return names and values in order; the payload's length is a multiple of 6."""
    return list(_SETTING.iter_unpack(payload))


def read_number(payload: bytes, at: int = 0) -> int:
    """Return 31 bits of a big-endian number of four bytes."""
    found: int = _NUMBER.unpack_from(payload, at)[0]
    return found & 0x7FFFFFFF


def ping(payload: bytes, *, ack: bool) -> bytes:
    """Return a PING frame with eight bytes."""
    return frame_head(len(payload), PING, ACK if ack else 0, 0) + payload


def rst_stream(stream_id: int, code: int) -> bytes:
    """Return a RST_STREAM frame."""
    return frame_head(4, RST_STREAM, 0, stream_id) + _NUMBER.pack(code)


def window_update(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame_head(4, WINDOW_UPDATE, 0, stream_id) + _NUMBER.pack(increment)


def goaway(last_stream_id: int, code: int, words: str = "") -> bytes:
    """Return a GOAWAY frame with words for a person."""
    payload = _TWO_NUMBERS.pack(last_stream_id, code) + words.encode("ascii", "replace")
    return frame_head(len(payload), GOAWAY, 0, 0) + payload


def header_frames(stream_id: int, block: bytes, *, end_stream: bool, max_frame_size: int) -> bytes:
    """Return a header block as one HEADERS frame, and CONTINUATION frames for what does not fit into it."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= max_frame_size:
        return frame_head(len(block), HEADERS, flags | END_HEADERS, stream_id) + block
    pieces = [frame_head(max_frame_size, HEADERS, flags, stream_id), block[:max_frame_size]]
    for at in range(max_frame_size, len(block), max_frame_size):
        piece = block[at : at + max_frame_size]
        last = END_HEADERS if at + max_frame_size >= len(block) else 0
        pieces += [frame_head(len(piece), CONTINUATION, last, stream_id), piece]
    return b"".join(pieces)
