"""The REST server of one worker: accepts connections, looks after their time, ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from services.gateway.edge.buffer_budget import BufferBudget
from services.gateway.edge.client_clock import ClientClock
from services.gateway.edge.rest.bridge import Bridge
from services.gateway.edge.rest.connection import RestConnection
from services.gateway.edge.rest.site import Site
from services.gateway.limits import Limits
from services.gateway.pipeline import Pipeline
from services.gateway.routes import Routes
from services.process.asgi import ASGIApp

_BACKLOG = 2048
# How long a server that stops still answers its open connections, each answer asking for the connection to be closed:
# a connection that is closed while the next request is on its way loses that request.
_FAREWELL_S = 5.0
# Connections that are looked at, and perhaps closed, before requests have their turn again.
_CHECKED_AT_ONCE = 32
# How long clients may take to hear that their request was cut short.
_LAST_WORDS_S = 0.5
_LONGEST_PERIOD_S = 0.25
# What the kernel holds of an answer beyond what is on its way: a client that does not read is noticed soon, and a far
# one that does is not slowed down.
_UNSENT_BYTES = 32 * 1024


class RestServer:
    """Serves REST on one listening socket.

    Args:
        listener: A bound socket; closed by the server.
        pipeline: Where inference requests go.
        routes: Which models are served.
        app: The application for everything else.
        limits: Bounds.
        budget: Bytes of requests that the worker may hold, shared with its other edges.
        draining: Whether the worker is on its way out: then every answer asks the client to close its connection.
    """

    def __init__(
        self,
        listener: socket.socket,
        pipeline: Pipeline,
        routes: Routes,
        app: ASGIApp,
        *,
        limits: Limits,
        budget: BufferBudget,
        draining: Callable[[], bool],
    ) -> None:
        self._listener = listener
        self._pipeline = pipeline
        self._routes = routes
        self._bridge = Bridge(app, limits.max_response_bytes)
        self._limits = limits
        self._budget = budget
        self._draining = draining
        shortest_s = min(limits.head_timeout_s, limits.body_grace_s, limits.write_grace_s, limits.idle_timeout_s)
        self._period_s = min(_LONGEST_PERIOD_S, shortest_s / 4)
        self._stopping = False
        self._site: Site | None = None
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._site.connections) if self._site is not None else 0

    async def start(self) -> None:
        """Listen; returns when connections are accepted."""
        loop = asyncio.get_running_loop()
        self._site = site = Site(
            pipeline=self._pipeline,
            routes=self._routes,
            bridge=self._bridge,
            limits=self._limits,
            budget=self._budget,
            draining=self._is_closing,
            loop=loop,
            clock=ClientClock(loop.time, self._period_s),
        )
        if self._listener.family != socket.AF_UNIX:
            self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        self._server = await loop.create_server(lambda: RestConnection(site), sock=self._listener, backlog=_BACKLOG)
        self._sweeper = asyncio.create_task(self._sweep(site), name="REST timeouts")

    async def stop(self) -> None:
        """Stop accepting, let every client hear of it, finish what is in flight, and close."""
        if self._site is None or self._server is None or self._sweeper is None:
            self._listener.close()
            return
        self._stopping = True
        self._server.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._limits.drain_s
        if not await self._quiet(self._site, min(_FAREWELL_S, self._limits.drain_s)):
            for connection in list(self._site.connections):
                connection.close_if_idle()
            if not await self._quiet(self._site, end - loop.time()):
                for connection in list(self._site.connections):
                    connection.cut_short()
                if not await self._quiet(self._site, _LAST_WORDS_S):
                    for connection in list(self._site.connections):
                        connection.abort()
                    await self._quiet(self._site, _LAST_WORDS_S)
        self._sweeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sweeper

    def _is_closing(self) -> bool:
        return self._stopping or self._draining()

    async def _quiet(self, site: Site, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await site.quiet.wait()
        except TimeoutError:
            return False
        return True

    async def _sweep(self, site: Site) -> None:
        """Look after the time of every connection."""
        while True:
            await asyncio.sleep(self._period_s)
            await self._check_all(site, site.clock.look())

    async def _check_all(self, site: Site, now: float) -> None:
        # A function of its own: what its loop holds at the end is let go.
        for number, connection in enumerate(list(site.connections)):
            connection.check(now)
            if number % _CHECKED_AT_ONCE == _CHECKED_AT_ONCE - 1:
                await asyncio.sleep(0)
