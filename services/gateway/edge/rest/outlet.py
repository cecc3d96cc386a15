"""What goes out to a client, and the client that does not take it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence

from services.core.errors import Overloaded
from services.gateway.edge.buffer_budget import BufferBudget, Hold
from services.gateway.limits import Limits

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time

Buffer = bytes | memoryview


class Outlet:
    """The sending side of one connection.

    Attributes:
        blocked: Whether there is something that the kernel did not take, because the client does not.

    Args:
        limits: Bounds on a client's pace.
        budget: Bytes that the worker may hold; answers that are not taken count too.
    """

    __slots__ = ("_hold", "_limits", "_since", "_transport", "_unsent", "blocked")

    def __init__(self, limits: Limits, budget: BufferBudget) -> None:
        self._limits = limits
        self._hold = Hold(budget)
        self._transport: asyncio.Transport | None = None
        self._unsent = 0
        self._since = 0.0
        self.blocked = False

    def attach(self, transport: asyncio.Transport) -> None:
        """Begin with a connection."""
        self._transport = transport
        # The transport says "paused" as soon as there is anything that the kernel does not take.
        transport.set_write_buffer_limits(high=0)

    def send(self, pieces: Sequence[Buffer]) -> None:
        """Send one answer."""
        if self._transport is None:
            return
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)

    def block(self, now: float) -> None:
        """Notice that the client does not take what was sent."""
        if self._transport is None:
            return
        self.blocked = True
        self._since = now
        self._unsent = self._transport.get_write_buffer_size()
        try:
            self._hold.add(self._unsent)
        except Overloaded:
            self.reset()  # memory is short, and this client is one of those that hold it

    def unblock(self) -> None:
        """Notice that it took everything."""
        self.blocked = False
        self._hold.release()

    def too_slow(self, now: float) -> bool:
        """Whether the client has taken less than it must by now."""
        if not self.blocked or self._transport is None:
            return False
        taken = self._unsent - self._transport.get_write_buffer_size()
        return now - self._since > self._limits.write_grace_s + taken / self._limits.min_transfer_bytes_per_s

    def reset(self) -> None:
        """Close the connection at once, and let the kernel forget what it holds for a client that does not take it."""
        if self._transport is not None and (self.blocked or not self._transport.is_closing()):
            held = self._transport.get_extra_info("socket")
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()

    def release(self) -> None:
        """Forget the connection, which is lost."""
        self._hold.release()
