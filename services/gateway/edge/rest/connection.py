"""One client connection: read a request, answer it, read the next. Nothing of it is unbounded in size or time.

    HEAD -> BODY -> BUSY -> (WRITE ->) HEAD ...            requests are answered one after the other, in order
      any of them -> LINGER -> closed                      a refused client gets to read why

While a request is answered, one read of what follows it is kept and no more is read. While a client does not take its
answer, its next request is not begun.
"""

from __future__ import annotations

import asyncio
import enum

from services.core.errors import Overloaded, PayloadTooLarge, PenstockError
from services.gateway.edge.buffer_budget import Hold
from services.gateway.edge.rest.answering import defect, document_reply, infer_reply
from services.gateway.edge.rest.bulk import BulkBody
from services.gateway.edge.rest.chunks import ChunkDecoder
from services.gateway.edge.rest.head import END, too_long_target
from services.gateway.edge.rest.infer import PROTOCOL, Buffer
from services.gateway.edge.rest.opening import Opening, too_large_body, too_large_head
from services.gateway.edge.rest.refusal import BAD_REQUEST, TIMEOUT, HttpRefusal, shown
from services.gateway.edge.rest.response import Reply, error_reply, written
from services.gateway.edge.rest.site import Site

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE = b"Connection: close\r\n"
_KEEP = b"Connection: keep-alive\r\n"
# From here a body is received into its own memory.
_BULK_BYTES = 128 * 1024
# A refused client gets this long to stop sending before its connection is closed: closed at once, it would see a reset
# instead of the answer.
_LINGER_S = 2.0
# A request line is at most this much longer than its target.
_LINE_BYTES = 32


class Phase(enum.Enum):
    """What a connection does."""

    HEAD = "waits for a head, or for the rest of one"
    BODY = "receives a body"
    BUSY = "answers"
    WRITE = "waits for the client to take the answer"
    LINGER = "throws away what a refused client still sends"
    CLOSED = "closes"


class RestConnection(asyncio.Protocol):
    """One client's connection.

    Args:
        site: What it shares with the others.
    """

    __slots__ = (
        "_ahead",
        "_ahead_hold",
        "_answer_hold",
        "_bulk",
        "_chunks",
        "_close",
        "_hold",
        "_opening",
        "_over",
        "_paused",
        "_phase",
        "_pieces",
        "_reading",
        "_received",
        "_requests",
        "_since",
        "_site",
        "_skipped",
        "_task",
        "_transport",
        "_unsent",
        "_unsent_since",
    )  # fmt: skip

    def __init__(self, site: Site) -> None:
        self._site = site
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # there from connection_made on
        self._phase = Phase.HEAD
        self._since = site.now
        self._requests = 0
        self._opening: Opening | None = None
        self._task: asyncio.Task[None] | None = None
        self._hold = Hold(site.budget)
        self._answer_hold = Hold(site.budget)
        # What was read beyond the present request, or an incomplete head.
        self._ahead = b""
        self._ahead_hold = Hold(site.budget)
        self._skipped = False
        self._reading = True
        self._pieces: list[bytes] = []
        self._chunks: ChunkDecoder | None = None
        self._bulk = False
        self._received = 0
        self._paused = False
        self._unsent = 0
        self._unsent_since = 0.0
        self._close = False  # whatever is left to read is dropped after the present answer
        self._over = False  # the client sends no more

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport  # type: ignore[assignment]  # asyncio gives a Protocol a Transport
        # Paused means: there is something that the kernel did not take.
        self._transport.set_write_buffer_limits(high=0)
        if not self._site.opened(self):
            self._phase = Phase.CLOSED
            error = Overloaded(f"this gateway worker has {self._site.limits.max_connections} connections, its limit")
            self._transport.write(b"".join(written(error_reply(error), _CLOSE)))
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        try:
            self._received_data(data)
        except Exception as error:  # noqa: BLE001 - the last line before a client without an answer
            self._refuse(defect(error))

    def _received_data(self, data: bytes) -> None:
        if self._phase is Phase.HEAD:
            if self._ahead:
                data = self._take_ahead() + data
            self._read_head(data)
        elif self._phase is Phase.BODY:
            self._read_body(data)
        elif self._phase is Phase.BUSY or self._phase is Phase.WRITE:
            self._keep_ahead(data)
        elif self._phase is Phase.LINGER:
            self._received += len(data)
            if self._received > self._site.limits.max_body_bytes:
                self._transport.abort()

    def eof_received(self) -> bool | None:
        """Notice that the client sends no more: for an inference it has gone; a document it may still read."""
        if self._phase is Phase.BUSY and self._opening is not None and self._opening.infer is None:
            self._over = True
            return True
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and cancel the request of a client that is gone."""
        del exc
        self._phase = Phase.CLOSED
        if self._task is not None:
            self._task.cancel()
        else:
            self._hold.release()
        self._take_ahead()
        self._answer_hold.release()
        self._pieces.clear()
        self._site.closed(self)

    def pause_writing(self) -> None:
        """Notice that the client does not take its answer as fast as it comes."""
        self._paused = True
        self._unsent = self._transport.get_write_buffer_size()
        self._unsent_since = self._site.now
        try:
            self._answer_hold.add(self._unsent)
        except Overloaded:
            self._transport.abort()  # memory is short, and this client is one of those that hold it

    def resume_writing(self) -> None:
        """Notice that the client took everything, and go on."""
        self._paused = False
        self._answer_hold.release()
        if self._phase is Phase.WRITE:
            self._await_head()

    # A large body

    def bulk_received(self, count: int) -> None:
        """Count what came of a large body."""
        self._received += count
        try:
            self._hold.add(count)
        except Overloaded as error:
            self._refuse(error)

    def bulk_complete(self, body: memoryview) -> None:
        """Answer a request with a large body."""
        if self._phase is Phase.BODY:
            self._leave_bulk()
            self._begin(body)

    # Timeouts and the end, from the server

    def check(self, now: float) -> None:
        """Close the connection of a client that is too slow, or idle for too long."""
        limits, phase = self._site.limits, self._phase
        waited_s = now - self._since
        if self._paused:
            taken = self._unsent - self._transport.get_write_buffer_size()
            if now - self._unsent_since > limits.write_grace_s + taken / limits.min_transfer_bytes_per_s:
                self._transport.abort()
        elif phase is Phase.HEAD:
            if self._ahead or not self._requests:
                if waited_s > limits.head_timeout_s:
                    self._head_is_late()
            elif waited_s > limits.idle_timeout_s:
                self._transport.close()
        elif phase is Phase.BODY:
            if waited_s > limits.body_grace_s + self._received / limits.min_transfer_bytes_per_s:
                self._refuse(self._slow_body(waited_s))
        elif phase is Phase.LINGER and waited_s > _LINGER_S:
            self._transport.abort()

    def close_if_idle(self) -> None:
        """Close the connection unless a request is on its way."""
        if self._phase is Phase.HEAD and not self._ahead:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    # Reading

    def _read_head(self, data: bytes) -> None:
        end = data.find(END)
        if end <= 0:
            self._incomplete_head(data)
            return
        end += len(END)
        try:
            opening = self._site.openings.read(data[:end])
        except HttpRefusal as refusal:
            self._refuse(refusal)
            return
        if opening.infer is not None and opening.refusal is None:
            unserved = self._site.unserved(opening.infer)
            if unserved is not None:
                opening = opening._replace(refusal=unserved)
        self._opening = opening
        self._skipped = False
        self._requests += 1
        head = opening.head
        length = head.length or 0
        if not head.chunked and len(data) >= end + length:
            if len(data) > end + length:
                self._keep_ahead(data[end + length :])
            self._complete(opening, data[end : end + length])
        elif opening.refusal is not None:
            self._refuse(opening.refusal)
        else:
            self._begin_body(opening, data[end:])

    def _incomplete_head(self, data: bytes) -> None:
        limits = self._site.limits
        if data.startswith(b"\r\n") and not self._skipped:
            # RFC 9112, 2.2: an empty line before a request, which some clients send after a body.
            self._skipped = True
            if len(data) > 2:  # noqa: PLR2004 - the empty line
                self._read_head(data[2:])
            else:
                self._resume()
        elif not data[:1].isalpha() and data != b"\r":
            words = f"this is no HTTP/1.1 request: it begins with '{shown(data)}'; send one"
            self._refuse(HttpRefusal(BAD_REQUEST, words))
        elif data.count(b"\n") != data.count(b"\r\n"):
            self._refuse(HttpRefusal(BAD_REQUEST, "a line of the request's head ends without CR LF; send both"))
        elif len(data) > limits.max_url_bytes + _LINE_BYTES and b"\r\n" not in data:
            self._refuse(too_long_target(limits))
        elif len(data) > limits.max_header_bytes:
            self._refuse(too_large_head(limits))
        else:
            self._keep_ahead(data)
            self._resume()

    def _begin_body(self, opening: Opening, first: bytes) -> None:
        self._phase = Phase.BODY
        self._since = self._site.now
        self._received = 0
        head = opening.head
        if head.expects and not first:
            self._transport.write(_CONTINUE)
        self._resume()
        if head.chunked:
            self._chunks = ChunkDecoder(self._site.limits)
        elif (length := head.length or 0) > _BULK_BYTES:
            self.bulk_received(len(first))
            if self._phase is Phase.BODY:
                self._bulk = True
                self._switch_protocol(BulkBody(self, length, first))
            return
        if first:
            self._read_body(first)

    def _read_body(self, data: bytes) -> None:
        """Take a piece of a small body, or of one in chunks."""
        try:
            rest = self._body_piece(data)
        except (HttpRefusal, PayloadTooLarge, Overloaded) as error:
            self._refuse(error)
            return
        if rest is not None:
            body, self._pieces, self._chunks = b"".join(self._pieces), [], None
            if rest:
                self._keep_ahead(rest)
            self._begin(body)

    def _body_piece(self, data: bytes) -> bytes | None:
        """Keep a piece and return what follows the body; None while it is not complete."""
        opening, before = self._opened, self._received
        self._hold.add(len(data))
        self._received += len(data)
        if self._chunks is None:
            missing = (opening.head.length or 0) - before
            self._pieces.append(data[:missing])
            return data[missing:] if len(data) >= missing else None
        self._pieces += self._chunks.feed(data)
        if self._chunks.size > opening.max_body_bytes:
            raise too_large_body(f"more than {opening.max_body_bytes} bytes", opening.max_body_bytes)
        return self._chunks.rest if self._chunks.complete else None

    def _keep_ahead(self, data: bytes) -> None:
        """Keep what was read too early; while a request is answered, read no more."""
        try:
            self._ahead_hold.add(len(data))
        except Overloaded as error:
            if self._opening is None:
                self._refuse(error)
            else:
                self._close = True
            return
        if self._opening is not None:
            if self._reading:
                self._reading = False
                self._transport.pause_reading()
        elif not self._ahead:
            self._since = self._site.now
        self._ahead = self._ahead + data if self._ahead else data

    def _take_ahead(self) -> bytes:
        data, self._ahead = self._ahead, b""
        self._ahead_hold.release()
        return data

    def _resume(self) -> None:
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def _leave_bulk(self) -> None:
        if self._bulk:
            self._bulk = False
            self._switch_protocol(self)

    def _switch_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._transport.set_protocol(protocol)
        # uvloop looks at the kind of protocol only where reading begins.
        self._transport.pause_reading()
        self._transport.resume_reading()

    @property
    def _opened(self) -> Opening:
        if self._opening is None:
            raise RuntimeError("a request without a head")
        return self._opening

    # Answering

    def _complete(self, opening: Opening, body: bytes) -> None:
        """Go on with a request that came in one piece."""
        refusal = opening.refusal
        if refusal is None:
            try:
                self._hold.add(len(body))
            except Overloaded as error:
                refusal = error
        if refusal is None:
            self._begin(body)
        else:
            self._count_refusal(refusal)
            self._answer(error_reply(refusal))

    def _begin(self, body: Buffer) -> None:
        self._phase = Phase.BUSY
        self._site.active += 1
        self._task = self._site.loop.create_task(self._work(body))

    async def _work(self, body: Buffer) -> None:
        """Answer the present request."""
        site, opening = self._site, self._opened
        try:
            if opening.infer is not None:
                reply = await infer_reply(site, opening.infer, body, self._hold)
            else:
                reply = await document_reply(site, opening, bytes(body), self._transport.get_extra_info("peername"))
        except asyncio.CancelledError:
            if self._phase is not Phase.CLOSED:
                raise
            return  # the one who cancelled was the client, by closing the connection
        finally:
            self._task = None
            self._hold.release()
            site.active -= 1
            site.settle()
        if self._phase is Phase.BUSY:
            self._answer(reply)

    def _answer(self, reply: Reply) -> None:
        """Send the reply of the present request and go on with the next."""
        if self._transport.is_closing():
            return
        head, limits = self._opened.head, self._site.limits
        self._opening = None
        keep = (
            head.keep_alive
            and not self._close
            and not (self._over and not self._ahead)
            and self._requests < limits.max_requests_per_connection
            and not self._site.draining()
        )
        closing = (_KEEP if head.old else b"") if keep else _CLOSE
        self._send(written(reply, closing, with_body=head.method != b"HEAD"))
        if not keep:
            self._finish()
        elif self._paused:
            self._phase = Phase.WRITE
        else:
            self._await_head()

    def _await_head(self) -> None:
        self._phase = Phase.HEAD
        self._since = self._site.now
        if self._ahead:
            self._site.loop.call_soon(self._proceed)
        else:
            self._resume()

    def _proceed(self) -> None:
        if self._phase is Phase.HEAD and self._ahead:
            self.data_received(b"")

    def _refuse(self, error: PenstockError) -> None:
        """Answer before the request was read to its end; nothing more can be understood on this connection."""
        if self._phase is Phase.CLOSED or self._transport.is_closing():
            return
        self._count_refusal(error)
        self._leave_bulk()
        self._pieces, self._chunks, self._opening = [], None, None
        self._hold.release()
        self._send(written(error_reply(error), _CLOSE))
        self._linger()

    def _count_refusal(self, error: PenstockError) -> None:
        if self._opening is not None and self._opening.infer is not None:
            self._site.pipeline.refused(PROTOCOL, self._opening.infer.model, error)

    def _send(self, pieces: list[Buffer]) -> None:
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)

    def _finish(self) -> None:
        """Close the connection; with a delay where the client may still be sending."""
        if self._ahead or not self._reading:
            self._linger()
        else:
            self._phase = Phase.CLOSED
            self._transport.close()

    def _linger(self) -> None:
        self._take_ahead()
        self._phase = Phase.LINGER
        self._since = self._site.now
        self._received = 0
        self._resume()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _head_is_late(self) -> None:
        if self._ahead:
            limit_s = self._site.limits.head_timeout_s
            self._refuse(
                HttpRefusal(TIMEOUT, f"the request's head did not arrive within {limit_s:g} s; send it faster")
            )
        else:
            self._phase = Phase.CLOSED
            self._transport.close()

    def _slow_body(self, waited_s: float) -> HttpRefusal:
        limits = self._site.limits
        return HttpRefusal(
            TIMEOUT,
            f"the request's body did not arrive in time: {self._received} bytes after {waited_s:.1f} s; expected "
            f"{limits.min_transfer_bytes_per_s} bytes per second after the first {limits.body_grace_s:g} s",
        )
