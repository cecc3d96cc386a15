"""A body that is small, or comes in chunks: collected in pieces."""

from __future__ import annotations

from services.gateway.edge.buffer_budget import Hold
from services.gateway.edge.rest.chunks import ChunkDecoder
from services.gateway.edge.rest.opening import Opening, too_large_body
from services.gateway.limits import Limits


class PiecedBody:
    """Collects one body.

    Attributes:
        received: Bytes that came, with the framing of chunks.

    Args:
        opening: What its request's head says.
        limits: Bounds.
        hold: What the request takes of the worker's memory.
    """

    __slots__ = ("_chunks", "_hold", "_length", "_most", "_pieces", "received")

    def __init__(self, opening: Opening, limits: Limits, hold: Hold) -> None:
        self._chunks = ChunkDecoder(limits) if opening.head.chunked else None
        self._length = opening.head.length or 0
        self._most = opening.max_body_bytes
        self._hold = hold
        self._pieces: list[bytes] = []
        self.received = 0

    def feed(self, data: bytes) -> bytes | None:
        """Keep a piece and return what follows the body; None while it is not complete.

        Raises:
            HttpRefusal: The chunks make no sense.
            PayloadTooLarge: It is over the limit.
            Overloaded: There is no room for it.
        """
        self._hold.add(len(data))
        before = self.received
        self.received += len(data)
        if self._chunks is None:
            missing = self._length - before
            self._pieces.append(data[:missing])
            return data[missing:] if len(data) >= missing else None
        self._pieces += self._chunks.feed(data)
        if self._chunks.size > self._most:
            raise too_large_body(f"more than {self._most} bytes", self._most)
        return self._chunks.rest if self._chunks.complete else None

    def joined(self) -> bytes:
        """Return the body."""
        return b"".join(self._pieces)
