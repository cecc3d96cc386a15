"""From HEADERS and CONTINUATION frames to whole header blocks (RFC 9113, sections 6.2 and 6.10). No I/O."""

from __future__ import annotations

from services.gateway.edge.http2.faults import Code, ConnectionFault
from services.gateway.edge.http2.frames import PADDED, PRIORITIZED, read_number

_MOST_CONTINUATIONS = 32
_PRIORITY_BYTES = 5


class HeaderAssembly:
    """The header block that one client is sending.

    Args:
        max_block_bytes: Longest block.

    Attributes:
        stream_id: The stream whose block is not complete; 0 while there is none.
        flags: The flags of its HEADERS frame.
    """

    __slots__ = ("_max_block_bytes", "_parts", "_size", "flags", "stream_id")

    def __init__(self, max_block_bytes: int) -> None:
        self._max_block_bytes = max_block_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self.stream_id = 0
        self.flags = 0

    def begin(self, stream_id: int, flags: int, fragment: bytes) -> None:
        """Keep the beginning of a block that goes on in CONTINUATION frames."""
        self.stream_id, self.flags = stream_id, flags
        self._parts, self._size = [fragment], len(fragment)

    def add(self, fragment: bytes) -> None:
        """Keep what a CONTINUATION frame brings.

        Raises:
            ConnectionFault: There is no block, or it does not come to an end.
        """
        if not self.stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._parts.append(fragment)
        self._size += len(fragment)
        if len(self._parts) > _MOST_CONTINUATIONS or self._size > self._max_block_bytes:
            raise ConnectionFault(
                Code.ENHANCE_YOUR_CALM,
                f"a header block of {self._size} bytes in {len(self._parts)} frames, without an end",
            )

    def complete(self) -> bytes:
        """Return the whole block."""
        block = b"".join(self._parts)
        self._parts, self.stream_id = [], 0
        return block


def fragment_of(stream_id: int, flags: int, payload: bytes) -> bytes:
    """Return the header block fragment in the payload of a HEADERS frame, without padding and priority.

    Raises:
        ConnectionFault: They do not fit into it.
    """
    padding = 0
    if flags & PADDED:
        if not payload:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a padded frame without the length of its padding")
        padding, payload = payload[0], payload[1:]
    if flags & PRIORITIZED:
        if len(payload) < _PRIORITY_BYTES:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a HEADERS frame that is too short for its priority")
        if read_number(payload) == stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a stream that depends on itself")
        payload = payload[_PRIORITY_BYTES:]
    if padding > len(payload):
        raise ConnectionFault(Code.PROTOCOL_ERROR, f"{padding} bytes of padding in a HEADERS frame that has fewer")
    return payload[: len(payload) - padding]
