"""What a peer did wrong, as HTTP/2 answers it: with the end of a stream, or with the end of the connection.

These never leave the package: the core turns them into frames.
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Error codes of RFC 9113, section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ConnectionFault(Exception):
    """The connection cannot go on."""

    def __init__(self, code: Code, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


class StreamFault(Exception):
    """One stream cannot go on."""

    def __init__(self, stream_id: int, code: Code, words: str) -> None:
        super().__init__(words)
        self.stream_id = stream_id
        self.code = code
        self.words = words
