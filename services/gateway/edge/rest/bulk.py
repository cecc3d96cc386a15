"""A large body, received straight into the memory in which it stays: no pieces, no joining, no second copy."""

from __future__ import annotations

import asyncio
from typing import Protocol

import numpy as np


class BulkOwner(Protocol):
    """The connection that a body belongs to."""

    def bulk_received(self, count: int) -> None:
        """Note ``count`` more bytes."""
        ...

    def bulk_complete(self, body: memoryview) -> None:
        """Go on with the whole body."""
        ...

    def pause_writing(self) -> None:
        """As in ``asyncio.Protocol``."""
        ...

    def resume_writing(self) -> None:
        """As in ``asyncio.Protocol``."""
        ...

    def eof_received(self) -> bool | None:
        """As in ``asyncio.Protocol``."""
        ...

    def connection_lost(self, exc: Exception | None) -> None:
        """As in ``asyncio.Protocol``."""
        ...


class BulkBody(asyncio.BufferedProtocol):
    """Stands in for a connection while one large body arrives.

    Args:
        owner: The connection.
        length: Bytes of the whole body.
        first: What of it came with the head.
    """

    def __init__(self, owner: BulkOwner, length: int, first: bytes) -> None:
        self._owner = owner
        # Not zeroed: memory that nothing was written to costs nothing, whatever a client announces.
        self._view = np.empty(length, np.uint8).data
        self._view[: len(first)] = first
        self._filled = len(first)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        del sizehint
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Note what came."""
        self._filled += nbytes
        self._owner.bulk_received(nbytes)
        if self._filled == len(self._view):
            self._owner.bulk_complete(self._view)

    def pause_writing(self) -> None:
        """Tell the connection."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """Tell the connection."""
        self._owner.resume_writing()

    def eof_received(self) -> bool | None:
        """Tell the connection."""
        return self._owner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the connection."""
        self._owner.connection_lost(exc)
