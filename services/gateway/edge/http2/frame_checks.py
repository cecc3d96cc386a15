"""What is wrong with a frame whatever the connection's state is: its length, or the stream it is on (RFC 9113, 6)."""

from __future__ import annotations

from services.gateway.edge.http2 import frames
from services.gateway.edge.http2.faults import Code, ConnectionFault

_OF_THE_CONNECTION = {frames.SETTINGS: "SETTINGS", frames.PING: "PING", frames.GOAWAY: "GOAWAY"}
_LENGTHS = {frames.RST_STREAM: ("RST_STREAM", 4), frames.PING: ("PING", 8), frames.WINDOW_UPDATE: ("WINDOW_UPDATE", 4)}
_SETTING_BYTES = 6
_LEAST_GOAWAY_BYTES = 8


def check_frame(kind: int, flags: int, stream_id: int, payload: bytes) -> None:
    """Check a frame that is not DATA.

    Raises:
        ConnectionFault: No client may send it.
    """
    if kind in _OF_THE_CONNECTION:
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"{_OF_THE_CONNECTION[kind]} on a stream")
    elif stream_id == 0 and kind in (frames.PRIORITY, frames.RST_STREAM, frames.HEADERS):
        raise ConnectionFault(Code.PROTOCOL_ERROR, f"a frame of type {kind} on stream 0")
    size = len(payload)
    if kind in _LENGTHS:
        name, expected = _LENGTHS[kind]
        if size != expected:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"a {name} frame of {size} bytes; expected {expected}")
    elif kind == frames.SETTINGS:
        if size % _SETTING_BYTES or (flags & frames.ACK and size):
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"a SETTINGS frame of {size} bytes")
    elif kind == frames.GOAWAY and size < _LEAST_GOAWAY_BYTES:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"a GOAWAY frame of {size} bytes")
    elif kind == frames.PUSH_PROMISE:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "a client cannot push")
