"""Serves an ASGI application on a socket that was claimed before, without taking the process's signals."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import Generator

import uvicorn

from services.core.errors import ConfigurationError
from services.gateway.edge.rest.asgi import ASGIApp
from services.gateway.edge.rest.http_protocol import BoundedHttpProtocol

_KEEP_ALIVE_S = 75
_BACKLOG = 2048
_POLL_S = 0.02
# How long a server that stops still answers its open connections, each answer asking for the connection to be closed:
# a connection that is closed while the next request is on its way loses that request.
_FAREWELL_S = 0.3


def shared_listener(host: str, port: int) -> socket.socket:
    """Return a socket bound to a port that other workers listen on as well (``SO_REUSEPORT``); 0 for a free one.

    Raises:
        ConfigurationError: The address cannot be bound.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on host '{host}': {error}; change the host") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"cannot listen on {host} port {port}: {error.strerror}; choose another") from error
    return listener


class _SignalFreeServer(uvicorn.Server):
    """uvicorn's server without its signal handlers: when a process stops is decided in one place, and not here."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpServer:
    """One HTTP server.

    Args:
        app: What answers.
        listener: A bound socket; closed by the server.
        drain_s: Longest time that requests in flight may take after ``stop``; then they are cancelled.
        head_timeout_s: Longest time for the head of one request to arrive.
    """

    def __init__(
        self, app: ASGIApp, listener: socket.socket, *, drain_s: float = 1.0, head_timeout_s: float = 10.0
    ) -> None:
        self._listener = listener
        config = uvicorn.Config(
            app,
            http=functools.partial(BoundedHttpProtocol, head_timeout_s=head_timeout_s),  # type: ignore[arg-type]
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(drain_s)),
        )
        self._server = _SignalFreeServer(config)
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen; returns when connections are accepted."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="http server")
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise RuntimeError("the HTTP server ended before it started")
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """Stop accepting, finish what is in flight and close."""
        if self._task is None:
            self._listener.close()
            return
        for server in self._server.servers:
            server.close()
        loop = asyncio.get_running_loop()
        until = loop.time() + _FAREWELL_S
        while self._server.server_state.connections and loop.time() < until:  # noqa: ASYNC110 - uvicorn's set
            await asyncio.sleep(_POLL_S)
        self._server.should_exit = True
        await self._task
