"""Length-prefixed messages out of pieces of a stream. No I/O."""

from __future__ import annotations

from struct import Struct

from services.core.errors import InvalidRequest, PayloadTooLarge
from services.gateway.limits import Limits

PREFIX = Struct(">BI")  # whether it is compressed, and its length
_COMPRESSED = 1

Buffer = bytes | memoryview


class MessageReader:
    """Reads the messages of one call.

    Args:
        limits: Bounds.
    """

    __slots__ = ("_buffer", "_limits", "_needed")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._needed = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of messages that are not taken."""
        return len(self._buffer)

    def feed(self, payload: bytes) -> None:
        """Add what came."""
        self._buffer += payload

    def take(self) -> tuple[bool, Buffer] | None:
        """Return whether the next message is compressed, and the message; None while it is not complete.

        Raises:
            InvalidRequest: This is no message.
            PayloadTooLarge: It is longer than it may be.
        """
        buffer = self._buffer
        size = len(buffer)
        if size < PREFIX.size or size < self._needed:
            return None
        if not self._needed:
            length = PREFIX.unpack_from(buffer)[1]
            check_prefix(buffer[0], length, self._limits)
            self._needed = PREFIX.size + length
            if size < self._needed:
                return None
        compressed = buffer[0] == _COMPRESSED
        if size == self._needed:
            # The memory goes with the message: no copy.
            message: Buffer = memoryview(buffer)[PREFIX.size :]
            self._buffer = bytearray()
        else:
            message = bytes(buffer[PREFIX.size : self._needed])
            del buffer[: self._needed]
        self._needed = 0
        return compressed, message


def check_prefix(flag: int, length: int, limits: Limits) -> None:
    """Check what precedes a message; errors as in ``MessageReader.take``."""
    if flag > _COMPRESSED:
        raise InvalidRequest(f"a message begins with the flag {flag}; expected 0, or 1 for a compressed one")
    if length > limits.max_body_bytes:
        raise PayloadTooLarge(
            f"the message has {length} bytes; this gateway takes at most {limits.max_body_bytes}: send smaller batches"
        )
