"""The listening side of HTTP/2: connections come, are looked after, and end in order."""

from __future__ import annotations

import asyncio
import socket

from services.gateway.edge.client_clock import ClientClock
from services.gateway.edge.http2.bounds import Bounds
from services.gateway.edge.http2.connection import Application
from services.gateway.edge.http2.patience import LOOK_EVERY_S
from services.gateway.edge.http2.protocol import Http2Protocol

_POLL_S = 0.01
# After the last answer: time for clients to take it and to close.
_FAREWELL_S = 1.5


class Http2Server:
    """Serves one listening socket.

    Args:
        application: Who answers requests.
        listener: A socket that listens; closed at the end.
        bounds: What one connection may do.
        max_connections: Most connections; one more is closed at once.
    """

    def __init__(self, application: Application, listener: socket.socket, bounds: Bounds, max_connections: int) -> None:
        self._application = application
        self._listener = listener
        self._bounds = bounds
        self._max_connections = max_connections
        self._connections: set[Http2Protocol] = set()
        self._server: asyncio.Server | None = None
        self._looking: asyncio.Task[None] | None = None
        self._port: int = listener.getsockname()[1]

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    async def start(self) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        clock = ClientClock(loop.time, LOOK_EVERY_S)
        self._server = await loop.create_server(
            lambda: Http2Protocol(self._application, self._bounds, clock, self._admit, self._connections.discard),
            sock=self._listener,
            backlog=4096,
        )
        self._looking = asyncio.create_task(self._look(clock), name="patience with HTTP/2 clients")

    async def stop(self, drain_s: float) -> None:
        """Accept nothing more, let clients go elsewhere and requests finish, then close.

        Args:
            drain_s: Longest time for requests in flight; what is not answered then is cut off.
        """
        if self._server is None or self._looking is None:
            self._listener.close()
            return
        self._server.close()
        loop = asyncio.get_running_loop()
        for connection in list(self._connections):
            connection.drain()
        await self._until_none(loop.time() + drain_s)
        for connection in list(self._connections):
            connection.cut()
        await self._until_none(loop.time() + _FAREWELL_S)
        for connection in list(self._connections):
            connection.abort()
        await self._until_none(loop.time() + _FAREWELL_S)
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)

    def _admit(self, connection: Http2Protocol) -> bool:
        if len(self._connections) >= self._max_connections:
            return False
        self._connections.add(connection)
        return True

    async def _look(self, clock: ClientClock) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self._look_at_all(clock.look())

    def _look_at_all(self, now: float) -> None:
        # A function of its own: what its loop holds at the end is let go.
        for connection in list(self._connections):
            connection.look(now)

    async def _until_none(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        while self._connections and loop.time() < until:  # noqa: ASYNC110 - a set that shrinks has no event
            await asyncio.sleep(_POLL_S)
