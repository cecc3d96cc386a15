"""What was read of a connection before its time: an incomplete head, or what follows the present request."""

from __future__ import annotations

import asyncio

from services.gateway.edge.buffer_budget import BufferBudget, Hold


class Ahead:
    """Keeps bytes, and stops reading while there are enough.

    Args:
        budget: Bytes of requests that the worker may hold.
    """

    __slots__ = ("_data", "_hold", "_reading", "_transport")

    def __init__(self, budget: BufferBudget) -> None:
        self._data = b""
        self._hold = Hold(budget)
        self._reading = True
        self._transport: asyncio.Transport | None = None

    def __bool__(self) -> bool:
        return bool(self._data)

    @property
    def reading(self) -> bool:
        """Whether the connection is read."""
        return self._reading

    def attach(self, transport: asyncio.Transport) -> None:
        """Begin with a connection."""
        self._transport = transport

    def keep(self, data: bytes) -> None:
        """Keep bytes.

        Raises:
            Overloaded: There is no room for them.
        """
        self._hold.add(len(data))
        self._data = self._data + data if self._data else data

    def take(self) -> bytes:
        """Return what was kept, and keep it no longer."""
        data, self._data = self._data, b""
        self._hold.release()
        return data

    def pause(self) -> None:
        """Read no more for now."""
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self._reading and self._transport is not None:
            self._reading = True
            self._transport.resume_reading()
