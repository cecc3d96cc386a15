"""uvicorn's HTTP protocol with the bounds that it lacks.

A client cannot dribble a head, send an endless one, or leave work behind when it closes its connection.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.gateway.edge.rest.infer import GONE, TASK
from services.gateway.edge.rest.joining_transport import JoiningTransport

HEAD_LIMIT_BYTES = 64 * 1024


class BoundedHttpProtocol(HttpToolsProtocol):
    """One client connection.

    Args:
        args: uvicorn's.
        head_timeout_s: Longest time from a connection's opening to its first complete head, and from the first byte of
            a later head to its last.
        kwargs: uvicorn's.
    """

    def __init__(self, *args: Any, head_timeout_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timeout_s = head_timeout_s
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        """Accept a connection and start the clock of its first head."""
        super().connection_made(JoiningTransport(transport, self.loop))
        self._head_timer = self.loop.call_later(self._head_timeout_s, self._give_up)

    def on_message_begin(self) -> None:
        """Notice that a head begins."""
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """Notice that the head is complete, and start the request."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and bound a head that is not complete afterwards."""
        super().data_received(data)
        if not self._in_head:
            self._head_bytes = 0
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_LIMIT_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The request's head is larger than {HEAD_LIMIT_BYTES} bytes.")
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self._head_timeout_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the request of a client that is gone."""
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)
        if self.cycle is not None:
            scope: dict[str, Any] = self.cycle.scope  # type: ignore[assignment]  # a TypedDict with entries of our own
            task = scope.get(TASK)
            if task is not None:
                scope[GONE] = True
                task.cancel()

    def _give_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()
