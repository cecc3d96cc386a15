"""A small HTTP/1.1 client for one server: pooled keep-alive connections, no hidden queue.

This is the hot path of the gateway, so it does what a request to Triton needs and nothing else: no redirects, no
cookies, no compression, no TLS, no HEAD. A request that finds every connection busy is refused at once; whoever wants
to wait, waits where waiting is bounded and counted.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from services.core.errors import PenstockError, Unavailable
from services.triton.faults import AllBusy, Broken, NoAnswer, NotSent
from services.triton.http_connection import (
    HEAD_ALLOWANCE_BYTES,
    Buffer,
    Connection,
    HttpResponse,
    KnownHeads,
)

__all__ = ["Buffer", "Heir", "HttpPool", "HttpResponse"]

# Joining the parts costs a copy, writing them one by one a system call each: the copy is cheaper up to about here.
_JOIN_BELOW_BYTES = 256 * 1024
# An event loop's timers are that exact; a deadline this close is over.
_TIMER_S = 0.001


class Heir(Protocol):
    """Who answers for requests that a server still works on although nobody waits for them."""

    @property
    def patience_s(self) -> float:
        """How long such a request's answer is waited for before its connection is closed."""
        ...

    def lingers(self, change: int) -> None:
        """So many more of them (1), or fewer (-1)."""
        ...


class HttpPool:
    """Connections to one server, most recently used first.

    Args:
        host: Name or address to connect to.
        port: TCP port.
        max_connections: Most requests in flight at once; one more is refused with ``Overloaded``.
        connect_timeout_s: Bound on establishing a connection, within the timeout of the request.
        max_response_bytes: Bound on one answer, head included (with 64 KiB of grace for it).
    """

    def __init__(
        self,
        host: str,
        port: int,
        max_connections: int = 256,
        connect_timeout_s: float = 1.0,
        max_response_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        self.host = host
        self.port = port
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._max_connections = max_connections
        self._connect_timeout_s = connect_timeout_s
        self._max_wire_bytes = max_response_bytes + HEAD_ALLOWANCE_BYTES
        self._heads = KnownHeads()
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._connecting = 0
        self._sweep_at = math.inf
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_closed: asyncio.Event | None = None

    @property
    def in_flight(self) -> int:
        """Requests that hold a connection now."""
        return len(self._open) + self._connecting - len(self._idle)

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body_parts: Sequence[Buffer] = (),
        timeout_s: float = 10.0,
        *,
        fresh: bool = False,
    ) -> HttpResponse:
        """Send one request and return its whole answer, whatever its status.

        A reused connection that closes before the first byte of an answer was closed by an idle server: the request is
        sent once more on a fresh connection. Nothing else is ever sent twice.

        Args:
            method: ``GET`` or ``POST``.
            path: Path and query, percent-encoded, with the leading slash.
            headers: Further headers; ``Host`` and ``Content-Length`` are added.
            body_parts: The body in pieces, which must not change before the answer is there.
            timeout_s: Bound on the whole exchange, connecting included.
            fresh: Whether to use a connection of its own, made for this request and closed after it.

        Raises:
            Overloaded: Every connection is busy.
            Unavailable: Nobody listens, or the connection broke before the answer was complete.
            DeadlineExceeded: No complete answer in time.
            UpstreamFailure: The answer is not HTTP or is too large.
        """
        opening = self.opening(method, path, headers or {})
        if fresh:
            return await self._exchange_apart(opening, body_parts, timeout_s)
        return await self.exchange(opening, b"", body_parts, timeout_s)

    def opening(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        """Return the part of a request's head that many requests have in common, for ``exchange``.

        Raises:
            ValueError: A line break in the path or a header.
        """
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        text = f"{method} {path} HTTP/1.1\r\nHost: {self.address}\r\n{lines}"
        if text.count("\n") != len(headers) + 2 or text.count("\r") != len(headers) + 2:
            raise ValueError(f"a line break inside the path or a header of {method} {path!r}")
        return text.encode("latin-1")

    async def exchange(
        self,
        opening: bytes,
        lines: bytes,
        body_parts: Sequence[Buffer],
        timeout_s: float,
        *,
        resend: bool = True,
        group: object = None,
        heir: Heir | None = None,
    ) -> HttpResponse:
        """Send one request whose head begins with ``opening``; otherwise as ``request``.

        Args:
            opening: What ``opening`` returned.
            lines: Further header lines, each with its line break, from a source that knows what it writes.
            body_parts: As in ``request``.
            timeout_s: As in ``request``.
            resend: Whether to send again what a reused connection may have lost.
            group: What ``give_up`` knows this exchange by.
            heir: Who is told of the request while the server works on it and nobody waits for it any more: its time is
                over, or the caller was cancelled. Without one its connection is closed.
        """
        message = _message(opening, lines, body_parts)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        connection = self._idle.pop() if self._idle else await self._connect(loop, timeout_s)
        try:
            return await self._answer(connection, message, deadline, timeout_s, group=group, heir=heir)
        except Broken as error:
            if not (error.stale and resend):
                raise
            lost = error
        try:
            connection = await self._connect(loop, deadline - loop.time())
        except NotSent as error:
            # Something was sent, on the connection before: whoever decides about a further attempt must know.
            raise Broken(f"{lost}; then: {error}") from error
        return await self._answer(connection, message, deadline, timeout_s, group=group, heir=heir)

    def give_up(self, group: object, error: PenstockError) -> None:
        """End every exchange of this group with ``error``, at once."""
        for connection in [c for c in self._open if c.group is group and c.answer is not None]:
            connection.fail(error)

    def close_idle(self) -> None:
        """Close what is idle now, and what is busy as soon as its answer is there; later requests connect anew.

        A server that is about to end waits for its connections, the idle ones too.
        """
        for connection in list(self._open):
            if connection.answer is None:
                self._close(connection)
            else:
                connection.on_idle = self._close

    async def aclose(self) -> None:
        """Close every connection; requests in flight fail with ``Unavailable``."""
        self._all_closed = asyncio.Event()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._open):
            connection.fail(Unavailable(f"{self.address}: the connection pool is closed"))
        if self._open:
            await self._all_closed.wait()

    async def _exchange_apart(self, opening: bytes, body_parts: Sequence[Buffer], timeout_s: float) -> HttpResponse:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        connection = await self._connect(loop, timeout_s)
        connection.on_idle = self._close
        message = _message(opening, b"Connection: close\r\n", body_parts)
        return await self._answer(connection, message, deadline, timeout_s)

    async def _answer(
        self,
        connection: Connection,
        message: Sequence[Buffer],
        deadline: float,
        timeout_s: float,
        *,
        group: object = None,
        heir: Heir | None = None,
    ) -> HttpResponse:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[HttpResponse] = loop.create_future()
        connection.deadline = deadline
        connection.timeout_s = timeout_s
        connection.group = group
        connection.heir = heir
        connection.send(answer, message)
        if deadline < self._sweep_at:
            self._sweep_by(loop, deadline)
        try:
            return await answer
        except asyncio.CancelledError:
            # The answer that is still to come must not meet the next request. One that has come just now has already
            # handed the connection on.
            if connection.answer is answer:
                self._abandon(loop, connection, Unavailable("the request was given up"))
            raise

    def _abandon(self, loop: asyncio.AbstractEventLoop, connection: Connection, error: PenstockError) -> None:
        """End the wait for an answer; with an heir the connection stays until it is there, for a while."""
        heir, connection.heir = connection.heir, None
        if heir is None:
            connection.fail(error)
            return
        bound_s = heir.patience_s
        connection.deadline = loop.time() + bound_s
        connection.timeout_s = bound_s
        heir.lingers(1)
        connection.bequeath(loop, error, lambda: heir.lingers(-1))
        if connection.deadline < self._sweep_at:
            self._sweep_by(loop, connection.deadline)

    def _sweep_by(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        """Look at every exchange's deadline at this time.

        One timer serves all: requests come far more often than deadlines pass, and a timer for each would cost more
        than a tenth of the whole exchange.
        """
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._sweep_at = deadline
        self._sweeper = loop.call_at(deadline, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = None
        self._sweep_at = math.inf
        over = loop.time() + _TIMER_S
        busy = [connection for connection in self._open if connection.answer is not None]
        for connection in busy:
            if connection.deadline <= over:
                self._abandon(loop, connection, connection.late())
        left = [connection.deadline for connection in self._open if connection.answer is not None]
        if left:
            self._sweep_by(loop, min(left))

    async def _connect(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> Connection:
        if self._is_closed():
            raise NotSent(f"the connection pool to {self.address} is closed")
        if len(self._open) + self._connecting >= self._max_connections:
            raise AllBusy(f"all {self._max_connections} connections to {self.address} are busy; try again shortly")
        bound_s = min(timeout_s, self._connect_timeout_s)
        self._connecting += 1
        try:
            async with asyncio.timeout(bound_s):
                _, connection = await loop.create_connection(self._new_connection, self.host, self.port)
        except TimeoutError as error:
            if bound_s < timeout_s:
                raise NotSent(f"no connection to {self.address} within {bound_s:g} s") from error
            raise NoAnswer(f"no connection to {self.address} within the {bound_s:.3f} s left") from error
        except OSError as error:
            raise NotSent(f"cannot connect to {self.address}: {error.strerror or error}") from error
        finally:
            self._connecting -= 1
        # Only here, not in connection_made: uvloop reports no loss of a connection whose making was cancelled.
        self._open.add(connection)
        if self._is_closed():
            connection.fail(Unavailable(f"{self.address}: the connection pool was closed meanwhile"))
        return connection

    def _close(self, connection: Connection) -> None:
        connection.fail(Unavailable(f"{self.address}: this connection is closed"))

    def _is_closed(self) -> bool:
        return self._all_closed is not None

    def _new_connection(self) -> Connection:
        return Connection(self.address, self._max_wire_bytes, self._heads, self._idle.append, self._forget)

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._all_closed is not None and not self._open:
            self._all_closed.set()


def _message(opening: bytes, lines: bytes, body_parts: Sequence[Buffer]) -> Sequence[Buffer]:
    length = sum([len(part) for part in body_parts])
    head = b"%b%bContent-Length: %d\r\n\r\n" % (opening, lines, length)
    if length < _JOIN_BELOW_BYTES:
        return (b"".join((head, *body_parts)),)
    return (head, *body_parts)
