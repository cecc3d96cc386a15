"""A small HTTP/1.1 client for one server: pooled keep-alive connections, no hidden queue.

This is the hot path of the gateway, so it does what a request to Triton needs and nothing else: no redirects, no
cookies, no compression, no TLS, no HEAD. A request that finds every connection busy is refused at once; whoever wants
to wait, waits where waiting is bounded and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import httptools

from services.core.errors import DeadlineExceeded, Overloaded, Unavailable, UpstreamFailure

# Joining the parts costs a copy, writing them one by one a system call each: the copy is cheaper up to about here.
_JOIN_BELOW_BYTES = 256 * 1024
_HEAD_ALLOWANCE_BYTES = 64 * 1024
_FIRST_FINAL_STATUS = 200

Buffer = bytes | memoryview


class HttpResponse:
    """One complete answer.

    Attributes:
        status: HTTP status code.
        raw_headers: Names and values in order of arrival, as received.
        body: The whole body, with any chunked framing removed.
    """

    __slots__ = ("body", "raw_headers", "status")

    def __init__(self, status: int, raw_headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.raw_headers = raw_headers
        self.body = body

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Headers by lower-case name; the last one of a name wins. Built at every call."""
        return {name.lower(): value for name, value in self.raw_headers}


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
        self._max_wire_bytes = max_response_bytes + _HEAD_ALLOWANCE_BYTES
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._connecting = 0
        self._closed = False
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

        Raises:
            Overloaded: Every connection is busy.
            Unavailable: Nobody listens, or the connection broke before the answer was complete.
            DeadlineExceeded: No complete answer in time.
            UpstreamFailure: The answer is not HTTP or is too large.
        """
        parts = self._message(method, path, headers or {}, body_parts)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        if self._idle:
            try:
                return await self._exchange(loop, self._idle.pop(), parts, timeout_s)
            except _StaleConnectionError:
                timeout_s = deadline - loop.time()
        connection = await self._connect(loop, timeout_s)
        return await self._exchange(loop, connection, parts, deadline - loop.time())

    async def aclose(self) -> None:
        """Close every connection; requests in flight fail with ``Unavailable``."""
        self._closed = True
        self._all_closed = asyncio.Event()
        for connection in list(self._open):
            connection.abort(f"the connection pool to {self.address} is closed")
        if self._open:
            await self._all_closed.wait()

    async def _exchange(
        self, loop: asyncio.AbstractEventLoop, connection: _Connection, parts: Sequence[Buffer], timeout_s: float
    ) -> HttpResponse:
        answer = connection.send(loop, parts)
        timer = loop.call_later(timeout_s, connection.expire, timeout_s)
        try:
            response = await answer
        except BaseException:
            # Above all a cancellation: the answer that is still to come must not meet the next request.
            connection.abort("the request was given up")
            raise
        finally:
            timer.cancel()
        if connection.reusable and not self._closed:
            self._idle.append(connection)
        else:
            connection.abort("the server closes this connection")
        return response

    async def _connect(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> _Connection:
        if self._closed:
            raise Unavailable(f"the connection pool to {self.address} is closed")
        if len(self._open) + self._connecting >= self._max_connections:
            raise Overloaded(f"all {self._max_connections} connections to {self.address} are busy; try again shortly")
        bound_s = min(timeout_s, self._connect_timeout_s)
        self._connecting += 1
        try:
            async with asyncio.timeout(bound_s):
                _, connection = await loop.create_connection(self._new_connection, self.host, self.port)
        except TimeoutError as error:
            if bound_s < timeout_s:
                raise Unavailable(f"no connection to {self.address} within {bound_s:g} s") from error
            raise DeadlineExceeded(f"no connection to {self.address} within the {bound_s:.3f} s left") from error
        except OSError as error:
            raise Unavailable(f"cannot connect to {self.address}: {error.strerror or error}") from error
        finally:
            self._connecting -= 1
        # Only here, not in connection_made: uvloop reports no loss of a connection whose making was cancelled.
        self._open.add(connection)
        if self._all_closed is not None:
            connection.abort("the connection pool was closed meanwhile")
        return connection

    def _new_connection(self) -> _Connection:
        return _Connection(self.address, self._max_wire_bytes, self._forget)

    def _forget(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._all_closed is not None and not self._open:
            self._all_closed.set()

    def _message(
        self, method: str, path: str, headers: Mapping[str, str], body_parts: Sequence[Buffer]
    ) -> Sequence[Buffer]:
        length = sum([len(part) for part in body_parts])
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.address}\r\nContent-Length: {length}\r\n{lines}\r\n"
        if head.count("\n") != len(headers) + 4:
            raise ValueError(f"a line break inside the path or a header of {method} {path!r}")
        if length < _JOIN_BELOW_BYTES:
            return (b"".join((head.encode("latin-1"), *body_parts)),)
        return (head.encode("latin-1"), *body_parts)


class _StaleConnectionError(Exception):
    """A reused connection closed before any byte of an answer."""


class _Connection(asyncio.Protocol):
    """One connection, carrying one exchange at a time."""

    def __init__(self, address: str, max_wire_bytes: int, on_lost: Callable[[_Connection], None]) -> None:
        self.reusable = False
        self.address = address
        self._max_wire_bytes = max_wire_bytes
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[HttpResponse] | None = None
        self._exchanges = 0
        self._wire_bytes = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []

    def send(self, loop: asyncio.AbstractEventLoop, parts: Sequence[Buffer]) -> asyncio.Future[HttpResponse]:
        """Start an exchange and return the future of its answer."""
        self._answer = loop.create_future()
        self._exchanges += 1
        self._wire_bytes = 0
        self.reusable = False
        transport = self._transport
        if transport is None or transport.is_closing():
            self._fail(self._broken("it closed before the request was sent"))
        elif len(parts) == 1:
            transport.write(parts[0])
        else:
            transport.writelines(parts)
        return self._answer

    def expire(self, timeout_s: float) -> None:
        """End the exchange because its time ran out."""
        self._fail(DeadlineExceeded(f"no answer from {self.address} within {timeout_s:.3f} s"))

    def abort(self, reason: str) -> None:
        """Close the connection at once."""
        self.reusable = False
        self._fail(Unavailable(f"{self.address}: {reason}"))
        if self._transport is None:
            self._on_lost(self)
        else:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # asyncio gives a Protocol a Transport

    def data_received(self, data: bytes) -> None:
        self._wire_bytes += len(data)
        if self._answer is None or self._answer.done():
            self.abort("it sent bytes that nobody asked for")
        elif self._wire_bytes > self._max_wire_bytes:
            limit = self._max_wire_bytes - _HEAD_ALLOWANCE_BYTES
            self._fail(UpstreamFailure(f"the answer of {self.address} is larger than {limit} bytes"))
        else:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError as error:
                failure = UpstreamFailure(f"{self.address} answered with something that is not HTTP: {error}")
                failure.__cause__ = error
                self._fail(failure)
                self.reusable = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(self._broken(f"it closed the connection{f' ({exc})' if exc else ''}"))
        self._transport = None
        self._on_lost(self)

    # httptools callbacks

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done():
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        headers, self._headers = self._headers, []
        body, self._body = self._body, []
        status = self._parser.get_status_code()
        if status < _FIRST_FINAL_STATUS or self._answer is None or self._answer.done():
            return  # an interim answer, or one too many
        self.reusable = self._parser.should_keep_alive()
        self._answer.set_result(HttpResponse(status, headers, body[0] if len(body) == 1 else b"".join(body)))

    def _broken(self, how: str) -> Exception:
        if self._wire_bytes:
            return Unavailable(f"{self.address} broke off in the middle of an answer: {how}")
        if self._exchanges > 1:
            return _StaleConnectionError()
        return Unavailable(f"{self.address} did not answer: {how}")

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
