"""An open-loop generator that costs little: raw HTTP/1.1 on one event loop, nothing parsed but status and length.

Requests are due by a schedule made before the first answer. One that finds no free connection opens one, up to a bound;
beyond it the request is not sent, which is counted: then the generator, and not the gateway, was the bottleneck.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.core.address import Address

NO_ANSWER = 0
NOT_SENT = -1

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_SWEEP_S = 0.05
_HEAD_END = b"\r\n\r\n"


@dataclass(slots=True)
class Shot:
    """One request.

    Attributes:
        due: When it was to be sent, seconds from the start.
        sent: When it was; as ``due`` where it was not.
        done: When its answer was complete, or when it was given up.
        status: HTTP status, ``NO_ANSWER`` or ``NOT_SENT``.
    """

    due: float
    sent: float = 0.0
    done: float = 0.0
    status: int = NO_ANSWER


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request at a time."""

    def __init__(self, owner: Generator) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self.shot: Shot | None = None

    def send(self, shot: Shot, message: bytes) -> None:
        self.shot = shot
        self._buffer = b""
        assert self._transport is not None  # noqa: S101 - only connected ones are handed out
        self._transport.write(message)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # asyncio gives a Protocol a Transport

    def data_received(self, data: bytes) -> None:
        self._buffer = buffer = self._buffer + data
        end = buffer.find(_HEAD_END)
        if end < 0:
            return
        length = _LENGTH.search(buffer, 0, end)
        if length is None or len(buffer) < end + len(_HEAD_END) + int(length[1]):
            return
        keep = _CLOSES.search(buffer, 0, end) is None
        shot, self.shot = self.shot, None
        self._owner.answered(self, shot, int(buffer[9:12]), keep=keep)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        shot, self.shot = self.shot, None
        self._owner.lost(self, shot)


class Generator:
    """Sends one request again and again to one address, or several in turns.

    Args:
        address: HOST:PORT.
        message: The request, or the requests.
        patience_s: After so long without an answer a request is given up and its connection closed.
        max_connections: Most connections.
    """

    def __init__(
        self, address: str, message: bytes | Sequence[bytes], patience_s: float, max_connections: int = 1024
    ) -> None:
        self._target = Address.parse(address, "target")
        self._messages = itertools.cycle([message] if isinstance(message, bytes) else message)
        self._patience_s = patience_s
        self._max_connections = max_connections
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._begun = 0.0
        self._on_done: Callable[[Shot], None] = lambda _: None

    async def open_loop(self, due: Sequence[float], is_enough: Callable[[Shot], bool] | None = None) -> list[Shot]:
        """Send a request at each time (ascending, seconds from now) and return what became of each.

        Args:
            due: When requests are due.
            is_enough: Called with each request that is over; when it returns true, nothing more is sent, and what was
                not sent is not returned.
        """
        shots = [Shot(at) for at in due]
        enough = asyncio.Event()
        if is_enough is not None:
            self._on_done = lambda shot: enough.set() if is_enough(shot) else None
        self._begun = time.perf_counter()
        sweeper = asyncio.create_task(self._sweep())
        try:
            for number, shot in enumerate(shots):
                wait_s = shot.due - self._now()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                if enough.is_set():
                    shots = shots[:number]
                    break
                self._fire(shot)
            if not enough.is_set():
                await self._settle()
        finally:
            self._on_done = lambda _: None
            sweeper.cancel()
            self._close()
        return shots

    async def closed_loop(self, connections: int, duration_s: float) -> list[Shot]:
        """Keep so many requests in flight for a while and return those that were answered."""
        shots: list[Shot] = []
        self._begun = time.perf_counter()

        def again(shot: Shot) -> None:
            shots.append(shot)
            if shot.done < duration_s:
                # At the next turn of the loop: the connection that brought this answer is free by then.
                asyncio.get_running_loop().call_soon(lambda: self._fire(Shot(self._now())))

        self._on_done = again
        sweeper = asyncio.create_task(self._sweep())
        try:
            for _ in range(connections):
                self._fire(Shot(0.0))
            await asyncio.sleep(duration_s)
            await self._settle()
        finally:
            self._on_done = lambda _: None
            sweeper.cancel()
            self._close()
        return shots

    def answered(self, connection: _Connection, shot: Shot | None, status: int, *, keep: bool) -> None:
        """Note an answer; called by a connection."""
        if shot is not None:
            shot.done, shot.status = self._now(), status
        if keep:
            self._idle.append(connection)
        else:
            connection.abort()
        if shot is not None:
            self._on_done(shot)

    def lost(self, connection: _Connection, shot: Shot | None) -> None:
        """Note the end of a connection; called by it."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if shot is not None:
            shot.done = self._now()
            self._on_done(shot)

    def _now(self) -> float:
        return time.perf_counter() - self._begun

    def _fire(self, shot: Shot) -> None:
        if self._idle:
            shot.sent = self._now()
            self._idle.pop().send(shot, next(self._messages))
        elif len(self._open) + len(self._opening) < self._max_connections:
            task = asyncio.create_task(self._connect(shot))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            shot.sent = shot.done = shot.due
            shot.status = NOT_SENT
            self._on_done(shot)

    async def _connect(self, shot: Shot) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._patience_s):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self), self._target.host, self._target.port
                )
        except OSError:  # a timeout is one of them
            shot.sent = shot.done = self._now()
            self._on_done(shot)
            return
        self._open.add(connection)
        shot.sent = self._now()
        connection.send(shot, next(self._messages))

    async def _sweep(self) -> None:
        """Give up on requests that nobody answers."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = self._now()
            for connection in list(self._open):
                if connection.shot is not None and now - connection.shot.sent > self._patience_s:
                    connection.abort()

    async def _settle(self) -> None:
        """Wait until nothing is under way, no longer than patience allows."""
        end = self._now() + 2 * self._patience_s
        # A look now and then costs less than an event for each of thousands of requests.
        while self._now() < end and (self._opening or any(one.shot is not None for one in self._open)):  # noqa: ASYNC110
            await asyncio.sleep(_SWEEP_S)

    def _close(self) -> None:
        for task in list(self._opening):
            task.cancel()
        for connection in list(self._open):
            connection.abort()
