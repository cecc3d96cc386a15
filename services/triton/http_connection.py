"""One HTTP/1.1 connection as a client has it: one exchange at a time, every byte checked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import httptools

from services.triton.faults import Broken, NoAnswer, Nonsense, NotSent

if TYPE_CHECKING:
    from services.core.errors import PenstockError
    from services.triton.http import Heir

Buffer = bytes | memoryview

HEAD_ALLOWANCE_BYTES = 64 * 1024
_FIRST_FINAL_STATUS = 200
_HEAD_END = b"\r\n\r\n"
_MAX_KNOWN_HEADS = 512
_MAX_KNOWN_HEAD_BYTES = 2048

_now = time.perf_counter


class HttpResponse:
    """One complete answer.

    Attributes:
        status: HTTP status code.
        headers: Headers by lower-case name; the last one of a name wins. Shared between answers: never changed.
        body: The whole body, with any chunked framing removed.
        exchange_s: Time from the write of the request to the last byte of the answer, seconds.
    """

    __slots__ = ("body", "exchange_s", "headers", "status")

    def __init__(self, status: int, headers: Mapping[bytes, bytes], body: bytes, exchange_s: float) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.exchange_s = exchange_s


class _Head(NamedTuple):
    """What a head says whose body has a known length and whose connection stays."""

    status: int
    headers: Mapping[bytes, bytes]
    body_bytes: int


class KnownHeads:
    """Heads of answers that were parsed before, by their exact bytes.

    A model whose outputs have one shape answers with the same head every time, so one look-up replaces a parser's
    callbacks (1.5 us of 10). Only a head that the parser has read, with a body of the length that it says and a
    connection that stays, is remembered: equal bytes then mean an equal answer.
    """

    def __init__(self) -> None:
        self._heads: dict[bytes, _Head] = {}
        self.get = self._heads.get

    def learn(self, head: bytes, status: int, headers: Mapping[bytes, bytes], body_bytes: int) -> None:
        """Remember one; a full memory starts anew."""
        if len(head) > _MAX_KNOWN_HEAD_BYTES:
            return
        if len(self._heads) >= _MAX_KNOWN_HEADS:
            self._heads.clear()
        self._heads[head] = _Head(status, headers, body_bytes)


class Connection(asyncio.Protocol):
    """One connection, carrying one exchange at a time. Any failure closes it.

    Args:
        address: The server, for words.
        max_wire_bytes: Bound on one answer with its head.
        heads: Heads that all connections of a pool know.
        on_idle: Told when an exchange is over and the connection can carry another.
        on_lost: Told when the connection is gone.
    """

    __slots__ = (
        "_address",
        "_body",
        "_complete",
        "_exchanges",
        "_headers",
        "_heads",
        "_max_wire_bytes",
        "_on_lost",
        "_parser",
        "_sent_at",
        "_stays",
        "_transport",
        "_wire_bytes",
        "answer",
        "deadline",
        "group",
        "heir",
        "on_idle",
        "timeout_s",
    )

    def __init__(
        self,
        address: str,
        max_wire_bytes: int,
        heads: KnownHeads,
        on_idle: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
    ) -> None:
        self.answer: asyncio.Future[HttpResponse] | None = None
        self.deadline = 0.0
        self.timeout_s = 0.0
        self.group: object = None
        self.heir: Heir | None = None
        self._address = address
        self._max_wire_bytes = max_wire_bytes
        self._heads = heads
        self.on_idle = on_idle
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._exchanges = 0
        self._wire_bytes = 0
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._complete: HttpResponse | None = None
        self._stays = False
        self._sent_at = 0.0

    def send(self, answer: asyncio.Future[HttpResponse], message: Sequence[Buffer]) -> None:
        """Start an exchange whose outcome goes to ``answer``."""
        self.answer = answer
        self._exchanges += 1
        self._sent_at = _now()
        transport = self._transport
        if transport is None or transport.is_closing():
            self.fail(self._unsent())
        elif len(message) == 1:
            transport.write(message[0])
        else:
            transport.writelines(message)

    def late(self) -> NoAnswer:
        """Return the error for an exchange whose time is over."""
        return NoAnswer(f"no answer from {self._address} within {self.timeout_s:.3f} s")

    def bequeath(self, loop: asyncio.AbstractEventLoop, error: PenstockError, then: Callable[[], None]) -> None:
        """End the wait with ``error`` and go on without anybody waiting; ``then`` is called at the exchange's end."""
        answer, self.answer = self.answer, loop.create_future()
        self.answer.add_done_callback(lambda ended: _bury(ended, then))
        if answer is not None and not answer.done():
            answer.set_exception(error)

    def fail(self, error: PenstockError) -> None:
        """Close the connection at once; an exchange that is under way ends with ``error``."""
        answer, self.answer = self.answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)
        if self._transport is None:
            self._on_lost(self)
        else:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = transport  # type: ignore[assignment]  # asyncio gives a Protocol a Transport

    def data_received(self, data: bytes) -> None:
        """Bytes came: all of an answer, or some."""
        answer = self.answer
        if answer is None or answer.done():
            self.fail(Nonsense(f"{self._address} sent bytes that nobody asked for"))
        elif not self._wire_bytes and self._is_known(answer, data):
            self.on_idle(self)
        else:
            self._parse(answer, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever closed it."""
        answer, self.answer = self.answer, None
        if answer is not None and not answer.done():
            answer.set_exception(self._broken(f"it closed the connection{f' ({exc})' if exc else ''}"))
        self._transport = None
        self._on_lost(self)

    def _is_known(self, answer: asyncio.Future[HttpResponse], data: bytes) -> bool:
        """Finish the exchange if ``data`` is one whole answer with a head that was seen before."""
        end = data.find(_HEAD_END) + len(_HEAD_END)
        head = self._heads.get(data[:end])
        if head is None or len(data) != end + head.body_bytes:
            return False
        self.answer = None
        answer.set_result(HttpResponse(head.status, head.headers, data[end:], _now() - self._sent_at))
        return True

    def _parse(self, answer: asyncio.Future[HttpResponse], data: bytes) -> None:
        self._wire_bytes += len(data)
        if self._wire_bytes > self._max_wire_bytes:
            limit = self._max_wire_bytes - HEAD_ALLOWANCE_BYTES
            self.fail(Nonsense(f"the answer of {self._address} is larger than {limit} bytes"))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._complete is None:
                failure = Nonsense(f"{self._address} answered with something that is not HTTP: {error}")
                failure.__cause__ = error
                self.fail(failure)
                return
            # What follows an answer is not part of it: the answer counts, the connection does not.
            self._stays = False
        if self._complete is not None:
            if self._stays and len(data) == self._wire_bytes:
                self._learn(data, self._complete)
            self._finish(answer, self._complete)

    def _learn(self, data: bytes, response: HttpResponse) -> None:
        end = data.find(_HEAD_END) + len(_HEAD_END)
        if data[end:] == response.body and b"content-length" in response.headers:
            self._heads.learn(data[:end], response.status, response.headers, len(response.body))

    def _finish(self, answer: asyncio.Future[HttpResponse], response: HttpResponse) -> None:
        self.answer = self._complete = None
        self._wire_bytes = 0
        answer.set_result(response)
        if self._stays:
            self.on_idle(self)
        elif self._transport is not None:
            self._transport.abort()

    # httptools callbacks

    def on_message_begin(self) -> None:
        """An answer begins; two in one breath are one too many."""
        if self._complete is not None:
            raise ValueError("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field or trailer."""
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """An answer is complete, perhaps an interim one."""
        headers, self._headers = self._headers, {}
        body, self._body = self._body, []
        status = self._parser.get_status_code()
        if status >= _FIRST_FINAL_STATUS:
            whole = body[0] if len(body) == 1 else b"".join(body)
            self._complete = HttpResponse(status, headers, whole, _now() - self._sent_at)
            # Only here: the parser forgets it as soon as the message is over.
            self._stays = self._parser.should_keep_alive()

    def _unsent(self) -> PenstockError:
        how = "it closed the connection before the request was sent"
        return self._broken(how) if self._exchanges > 1 else NotSent(f"{self._address}: {how}")

    def _broken(self, how: str) -> Broken:
        if self._wire_bytes:
            return Broken(f"{self._address} broke off in the middle of an answer: {how}")
        return Broken(f"{self._address} did not answer: {how}", stale=self._exchanges > 1)


def _bury(ended: asyncio.Future[HttpResponse], then: Callable[[], None]) -> None:
    if not ended.cancelled():
        ended.exception()  # asyncio wants every error to be looked at
    then()
