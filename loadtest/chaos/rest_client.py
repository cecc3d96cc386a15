"""A keep-alive REST client on asyncio: as many connections as there are requests at once, each used again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httptools

from loadtest.connection import TIMED_OUT, HttpAnswer
from loadtest.payload import INFERENCE_HEADER, Interface, Payload, read_rest
from loadtest.record import Failure
from services.core.address import Address

_OK = 200


class _ClosedError(Exception):
    """The server closed a reused connection before any byte of an answer."""


class RestClient:
    """Sends requests to one address.

    A request whose reused connection closes before any byte of an answer is sent once more on a fresh one, as HTTP
    clients do (RFC 9112, 9.5): the server had every right to close it. Nothing else is sent again.

    Args:
        address: HOST:PORT.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._target = Address.parse(address, "address")
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()

    async def send(self, interface: Interface, payload: Payload, deadline: float) -> tuple[Failure | None, bool]:
        """Send a request and check its answer.

        Args:
            interface: What is asked.
            payload: Request and right answer.
            deadline: Moment on the event loop's clock after which there is no use in an answer.

        Returns:
            Why there is no right answer, and whether the request was sent twice.
        """
        head = (
            f"POST {interface.path}/infer HTTP/1.1\r\nHost: {self._address}\r\nContent-Length: {len(payload.body)}\r\n"
            f"Content-Type: application/octet-stream\r\n{INFERENCE_HEADER}: {payload.json_size}\r\n\r\n"
        )
        resent = False
        try:
            async with asyncio.timeout_at(deadline):
                try:
                    status, answer = await self._exchange(head.encode("latin-1") + payload.body)
                except _ClosedError:
                    resent = True
                    status, answer = await self._exchange(head.encode("latin-1") + payload.body, fresh=True)
        except TimeoutError:
            return Failure(TIMED_OUT, "no answer before the deadline"), resent
        except (OSError, httptools.HttpParserError) as error:
            return Failure(type(error).__name__, str(error)), resent
        if status != _OK:
            return Failure(f"HTTP {status}", bytes(answer.body[:300]).decode("utf-8", "replace")), resent
        read = read_rest(interface, answer.headers, bytes(answer.body), payload.labels)
        if isinstance(read, Failure):
            return read, resent
        return (None if read.right == read.items else Failure("wrong answer", "another class than the label")), resent

    async def _exchange(self, message: bytes, *, fresh: bool = False) -> tuple[int, HttpAnswer]:
        reused = bool(self._idle) and not fresh
        connection = self._idle.pop() if reused else await self._connect()
        try:
            status, answer = await connection.exchange(message)
        except ConnectionError as error:
            if reused and not connection.answering:
                raise _ClosedError from error
            raise
        finally:
            # Also when the time is over: what comes later belongs to no request.
            if not connection.reusable:
                connection.close()
        self._idle.append(connection)
        return status, answer

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(self._forget), self._target.host, self._target.port
        )
        self._open.add(connection)
        return connection

    def _forget(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._open):
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection with one request at a time.

    Attributes:
        answering: Whether a byte of an answer to the present request has come.
        reusable: Whether another request may follow.
    """

    def __init__(self, on_lost: Callable[[_Connection], None]) -> None:
        self.answering = False
        self.reusable = False
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[tuple[int, HttpAnswer]] | None = None
        self._answer = HttpAnswer()
        self._parser: httptools.HttpResponseParser | None = None

    async def exchange(self, message: bytes) -> tuple[int, HttpAnswer]:
        """Send one request and return status and answer."""
        self.answering = self.reusable = False
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("closed while it was idle")
        self._answer = HttpAnswer()
        self._parser = httptools.HttpResponseParser(self._answer)
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._waiting

    def close(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]  # asyncio gives a Protocol a Transport

    def data_received(self, data: bytes) -> None:
        """Feed the answer."""
        self.answering = True
        if self._waiting is None or self._waiting.done() or self._parser is None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._waiting.set_exception(error)
            return
        if self._answer.complete:
            self.reusable = self._answer.headers.get("connection", "").lower() != "close"
            self._waiting.set_result((self._parser.get_status_code(), self._answer))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError(str(exc or "closed before the answer was complete")))
        self._on_lost(self)
