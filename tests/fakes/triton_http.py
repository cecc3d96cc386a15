"""A scripted HTTP server in place of Triton: what happens to each request is said beforehand, byte by byte."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Step = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request as it came, and the means to answer it.

    Attributes:
        head: Request line and headers.
        body: The whole body.
        connection: Number of the connection, counted from 1.
        writer: Where an answer goes.
    """

    head: bytes
    body: bytes
    connection: int
    writer: asyncio.StreamWriter


@dataclass
class ScriptedServer:
    """Plays one step for every request, in the order in which they arrive."""

    port: int = 0
    exchanges: list[Exchange] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    _steps: deque[Step] = field(default_factory=deque)

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Play steps on one connection until either side closes it."""
        self.connections += 1
        self.open_connections += 1
        number = self.connections
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_content_length(head))
                exchange = Exchange(head, body, number, writer)
                self.exchanges.append(exchange)
                await self._steps.popleft()(exchange)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.open_connections -= 1
            self.closed.set()
            writer.close()


def answer(body: bytes = b"{}", status: int = 200, headers: Iterable[str] = ()) -> Step:
    """Answer at once and keep the connection."""

    async def step(exchange: Exchange) -> None:
        lines = "".join(f"{line}\r\n" for line in headers)
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        exchange.writer.write(head.encode() + body)
        await exchange.writer.drain()

    return step


def raw(*pieces: bytes, then_close: bool = False) -> Step:
    """Send bytes as they are, piece by piece, and close the connection or keep it."""

    async def step(exchange: Exchange) -> None:
        for piece in pieces:
            exchange.writer.write(piece)
            await exchange.writer.drain()
            await asyncio.sleep(0.01)
        if then_close:
            exchange.writer.close()

    return step


def answer_then_close(body: bytes = b"{}") -> Step:
    """Answer as if the connection stayed, then close it: an idle server that hangs up."""

    async def step(exchange: Exchange) -> None:
        await answer(body)(exchange)
        exchange.writer.close()

    return step


def reset() -> Step:
    """Close the connection without a word."""

    async def step(exchange: Exchange) -> None:
        exchange.writer.transport.abort()

    return step


def silence() -> Step:
    """Never answer."""

    async def step(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    return step


@asynccontextmanager
async def scripted_server(*steps: Step) -> AsyncIterator[ScriptedServer]:
    """Serve on a free port of 127.0.0.1 until the context ends."""
    script = ScriptedServer(_steps=deque(steps))
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(script.serve_connection(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    script.port = server.sockets[0].getsockname()[1]
    try:
        yield script
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
