"""Serves an ASGI application within an event loop that others use too: for our own pages, not for clients' traffic."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator

import uvicorn

from services.core.errors import PenstockError
from services.process.asgi import ASGIApp

_BACKLOG = 128
_MAX_CONNECTIONS = 256
_POLL_S = 0.02


class _SignalFreeServer(uvicorn.Server):
    """uvicorn's server without its signal handlers: when a process stops is decided in one place, and not here."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class AsgiServer:
    """One HTTP server.

    Args:
        app: What answers; it is not told of the server's start and end.
        listener: A bound socket; closed by the server.
        grace_s: Longest time that requests in progress may take after ``stop``; then they are cancelled.
        frozen_s: Longest time for a client to take what was sent to it; then its connection is cut.
    """

    def __init__(self, app: ASGIApp, listener: socket.socket, grace_s: float = 2.0, frozen_s: float = 20.0) -> None:
        self._listener = listener
        # Inherited by every connection. Closing one that is not read would wait for its buffer, without an end.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * frozen_s))
        config = uvicorn.Config(
            app,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_graceful_shutdown=max(1, round(grace_s)),
        )
        self._server = _SignalFreeServer(config)
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._server.server_state.connections)

    async def start(self) -> None:
        """Listen; returns when connections are accepted.

        Raises:
            PenstockError: The server ended before that.
        """
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="http server")
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise PenstockError("the HTTP server ended before it started; its log says why")
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """Stop accepting, finish what is in progress and close; closes the socket where ``start`` never ran."""
        if self._task is None:
            self._listener.close()
            return
        self._server.should_exit = True
        await self._task
