"""Serves an ASGI application over HTTP within an event loop that others use too."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from services.core.errors import ConfigurationError
from services.process.ports import ensure_free

_BACKLOG = 128
_MAX_CONNECTIONS = 256
_GRACE_S = 2


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: the process's composition root owns them."""
        yield


class HttpServer:
    """Serves from ``serve`` until ``stop``.

    Args:
        app: The application.
        host: Address to listen on.
        port: Port to listen on; 0 chooses a free one.
    """

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )

    async def serve(self) -> None:
        """Serve until ``stop`` was called and the requests in progress have ended."""
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Begin the end of ``serve``."""
        self._server.should_exit = True

    def close(self) -> None:
        """Give the port back; needed where ``serve`` never ran."""
        self._socket.close()


def _listen(host: str, port: int) -> socket.socket:
    ensure_free(host, port, "the controller's HTTP port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port} for HTTP ({error.strerror}); choose another port, or 0 for a free one"
        ) from error
    return listener
