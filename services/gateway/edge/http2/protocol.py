"""One client's socket: carries bytes between it and the core, and keeps the time for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from services.gateway.edge.client_clock import ClientClock
from services.gateway.edge.http2.bounds import Bounds
from services.gateway.edge.http2.connection import Application, Connection
from services.gateway.edge.http2.faults import Code, ConnectionFault
from services.gateway.edge.http2.patience import Patience

# Data beyond this are kept where they can still be given up: in the streams they belong to.
_WRITE_BUFFER_BYTES = 256 * 1024
# After the last word: how long, and how much, of what the client still sends is read and dropped. Closing a socket with
# unread bytes would take the last word back.
_LINGER_S = 1.0
_LINGER_BYTES = 1024 * 1024

_log = logging.getLogger(__name__)


class Http2Protocol(asyncio.Protocol):
    """One connection.

    Args:
        application: Who answers requests.
        bounds: What the client may do.
        clock: The clock of every timeout.
        admit: Told of the new connection; False where there are too many.
        lost: Told when the connection is closed.
    """

    def __init__(
        self,
        application: Application,
        bounds: Bounds,
        clock: ClientClock,
        admit: Callable[[Http2Protocol], bool],
        lost: Callable[[Http2Protocol], None],
    ) -> None:
        self._clock = clock
        self._admit = admit
        self._lost = lost
        self._application = application
        self._bounds = bounds
        self._transport: asyncio.Transport | None = None
        self._connection: Connection | None = None
        self._patience: Patience | None = None
        self._taken_before = 0
        self._lingering_since: float | None = None
        self._lingered_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._admit(self):
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(_WRITE_BUFFER_BYTES)
        now = self._clock.now()
        self._connection = Connection(self._application, self._bounds, self._transport.write, self._done, now)
        self._patience = Patience(self._connection, now)
        self._connection.start()

    def data_received(self, data: bytes) -> None:
        """Hand on what came."""
        now = self._clock.now()
        connection, patience = self._connection, self._patience
        if connection is None or patience is None:
            return
        if self._lingering_since is not None:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > _LINGER_BYTES:
                self.abort()
            return
        patience.heard_at = now
        try:
            connection.receive(data, now)
        except Exception:  # noqa: BLE001 - the last line before a connection that hangs
            # The core raises nothing and the application must not: a defect, which costs one connection.
            _log.exception("an HTTP/2 connection failed")
            connection.fail(ConnectionFault(Code.INTERNAL_ERROR, "the gateway failed at this connection"))

    def eof_received(self) -> bool:
        """A client that sends nothing more is gone: it could not even give room for an answer."""
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        """Free whatever the client held."""
        self._transport = None
        if self._connection is not None:
            self._connection.lost()
            self._connection = None
            self._lost(self)

    def pause_writing(self) -> None:
        """Send no data for now, and read nothing, because every frame may ask for an answer."""
        if self._connection is not None and self._transport is not None:
            self._connection.sender.paused = True
            if not self._transport.is_closing():
                self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        if self._connection is not None and self._transport is not None:
            if not self._transport.is_closing():
                self._transport.resume_reading()
            self._connection.resume()

    def look(self, now: float) -> None:
        """Look whether the client takes too long."""
        transport, connection, patience = self._transport, self._connection, self._patience
        if transport is None or connection is None or patience is None:
            return
        if self._lingering_since is not None:
            if now - self._lingering_since > _LINGER_S:
                self.abort()
            return
        self._measure(transport, connection, patience, now)
        if not patience.look(now):
            self.abort()

    def drain(self) -> None:
        """Ask the client to go elsewhere, and end when its requests are answered."""
        if self._connection is not None:
            self._connection.drain(self._clock.now())

    def cut(self) -> None:
        """End the connection in order, with whatever requests are in flight."""
        if self._connection is not None:
            self._connection.fail(ConnectionFault(Code.NO_ERROR, "the gateway ends"))

    def abort(self) -> None:
        """Cut the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def _measure(self, transport: asyncio.Transport, connection: Connection, patience: Patience, now: float) -> None:
        """Take note of how much of what was written the client has taken."""
        if not connection.sender.paused:
            patience.stuck_since = None
            return
        taken = connection.sender.sent_bytes - transport.get_write_buffer_size()
        if patience.stuck_since is None:
            patience.stuck_since = now
            self._taken_before = taken
        patience.stuck_bytes = max(0, taken - self._taken_before)

    def _done(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing() or self._lingering_since is not None:
            return
        self._lingering_since = self._clock.now()
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()
