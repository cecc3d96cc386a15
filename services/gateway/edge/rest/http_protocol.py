"""uvicorn's HTTP protocol with the bounds that it lacks.

A client cannot dribble a head, send an endless one, or leave work behind when it closes its connection. What is no HTTP
is refused with words. An offer to speak another protocol (``Upgrade: h2c``, which Java's client makes by default) is
ignored, as RFC 9110 allows, instead of costing the request its body.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.gateway.edge.rest.infer import GONE, TASK
from services.gateway.edge.rest.joining_transport import JoiningTransport

HEAD_LIMIT_BYTES = 64 * 1024
_CONNECT = b"CONNECT"
_OFFER = frozenset({b"upgrade", b"http2-settings"})


class BoundedHttpProtocol(HttpToolsProtocol):
    """One client connection.

    Args:
        args: uvicorn's.
        head_timeout_s: Longest time from a connection's opening to its first complete head, and from the first byte of
            a later head to its last.
        kwargs: uvicorn's.
    """

    def __init__(self, *args: Any, head_timeout_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timeout_s = head_timeout_s
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._offered = False
        self._completed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        """Accept a connection and start the clock of its first head."""
        super().connection_made(JoiningTransport(transport, self.loop))
        self._head_timer = self.loop.call_later(self._head_timeout_s, self._give_up)

    def on_message_begin(self) -> None:
        """Notice that a head begins."""
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """Notice that the head is complete, and start the request."""
        # CONNECT has no body that could be lost, and whatever follows it is not for us.
        self._offered = bool(self.parser.should_upgrade()) and self.parser.get_method() != _CONNECT
        if not self._offered:
            self._in_head = False
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Notice that a message is complete, unless it only seems so because of an offer."""
        if not self._offered:
            self._completed = True
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and bound a head that is not complete afterwards."""
        self._unset_keepalive_if_required()
        self._completed = False
        self._parse(data)
        if not self._in_head:
            self._head_bytes = 0
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
            return
        # Where in the data a head begins that follows another message is not known: it counts from the next data on.
        self._head_bytes = 0 if self._completed else self._head_bytes + len(data)
        if self._head_bytes > HEAD_LIMIT_BYTES and not self.transport.is_closing():
            self.send_400_response(f"the request's head is larger than {HEAD_LIMIT_BYTES} bytes; send shorter headers")
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self._head_timeout_s, self._give_up)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, in the form of every other error, and close the connection."""
        body = orjson.dumps({"error": msg})
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the request of a client that is gone."""
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)
        if self.cycle is not None:
            scope: dict[str, Any] = self.cycle.scope  # type: ignore[assignment]  # a TypedDict with entries of our own
            task = scope.get(TASK)
            if task is not None:
                scope[GONE] = True
                task.cancel()

    def _give_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _parse(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = self._feed(rest)
        except httptools.HttpParserCallbackError:
            target = self.url[:80].decode("ascii", "backslashreplace")
            self._refuse(f"the request's target is '{target}'; expected a path that begins with /, percent-encoded")
        except httptools.HttpParserError as error:
            self._refuse(f"this is no HTTP/1.1 request: {error}; send one, with a Content-Length or in chunks")

    def _feed(self, data: memoryview) -> memoryview:
        """Parse as far as an offer, and return what follows it."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._offered:
                self._decline()
                return data[upgrade.args[0] :]
        return data[len(data) :]

    def _decline(self) -> None:
        """Parse the head once more without the offer; what follows it is this request's body.

        httptools would take the body for the other protocol already, and drop it.
        """
        lines = [b"%s %s HTTP/1.1" % (self.parser.get_method(), self.url)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token for token in value.split(b",") if token.strip().lower() not in _OFFER]
                lines.append(name + b": " + b",".join(tokens))
            elif name not in _OFFER:
                lines.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parser.feed_data(b"\r\n".join(lines) + b"\r\n\r\n")

    def _refuse(self, words: str) -> None:
        if not self.transport.is_closing():
            self.send_400_response(words)
