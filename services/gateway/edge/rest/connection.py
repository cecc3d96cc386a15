"""One client connection: read a request, answer it, read the next. Nothing of it is unbounded in size or time.

    HEAD -> BODY -> BUSY -> (WRITE ->) HEAD ...            requests are answered one after the other, in order
      any of them -> LINGER -> closed                      a refused client gets to read why

While a request is answered, one read of what follows it is kept and no more is read. While a client does not take its
answer, its next request is not begun.
"""

from __future__ import annotations

import asyncio

from services.core.errors import Overloaded, PenstockError, Unavailable
from services.gateway.edge.buffer_budget import Hold
from services.gateway.edge.rest.ahead import Ahead
from services.gateway.edge.rest.answering import defect, document_reply, infer_reply
from services.gateway.edge.rest.body import PiecedBody
from services.gateway.edge.rest.bulk import BulkBody
from services.gateway.edge.rest.head import END, hopeless
from services.gateway.edge.rest.infer import PROTOCOL, Buffer
from services.gateway.edge.rest.opening import Opening
from services.gateway.edge.rest.outlet import Outlet
from services.gateway.edge.rest.phase import Phase
from services.gateway.edge.rest.refusal import HttpRefusal, late_body, late_head
from services.gateway.edge.rest.response import Reply, error_reply, written
from services.gateway.edge.rest.site import Site

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE = b"Connection: close\r\n"
_KEEP = b"Connection: keep-alive\r\n"
# From here a body is received into its own memory.
_BULK_BYTES = 128 * 1024
# A refused client gets this long to stop sending before its connection is closed: closed at once, it would see a reset
# instead of the answer.
_LINGER_S = 1.5


class RestConnection(asyncio.Protocol):
    """One client's connection.

    Args:
        site: What it shares with the others.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # there from connection_made on
        self._phase = Phase.HEAD
        self._since = site.clock.now()  # when the phase began
        self._ahead = Ahead(site.budget)
        self._outlet = Outlet(site.limits, site.budget)
        self._requests = 0
        self._skipped = False  # an empty line before the present head
        # The present request
        self._opening: Opening | None = None
        self._hold = Hold(site.budget)
        self._body: PiecedBody | None = None
        self._bulk = False
        self._received = 0
        self._task: asyncio.Task[None] | None = None
        # How it ends
        self._close = False  # whatever is left to read is dropped after the present answer
        self._over = False  # the client sends no more
        self._cut_short = False  # the server does not wait longer for the present answer

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport  # type: ignore[assignment]  # asyncio gives a Protocol a Transport
        self._ahead.attach(self._transport)
        self._outlet.attach(self._transport)
        if not self._site.opened(self):
            error = Overloaded(f"this gateway worker has {self._site.limits.max_connections} connections, its limit")
            self._outlet.send(written(error_reply(error), _CLOSE))
            self._shut()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        try:
            self._take(data)
        except Exception as error:  # noqa: BLE001 - the last line before a client without an answer
            self._refuse(defect(error))

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
        self._hold.release()
        self._body = None
        self._ahead.take()
        self._outlet.release()
        self._site.closed(self)

    def pause_writing(self) -> None:
        """Notice that the client does not take its answer as fast as it comes."""
        self._outlet.block(self._site.clock.now())

    def resume_writing(self) -> None:
        """Notice that the client took everything, and go on."""
        self._outlet.unblock()
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
        if self._outlet.blocked:
            if self._outlet.too_slow(now):
                self._outlet.reset()
        elif phase is Phase.HEAD:
            if self._ahead or not self._requests:
                if waited_s > limits.head_timeout_s:
                    self._refuse(late_head(limits)) if self._ahead else self._shut()
            elif waited_s > limits.idle_timeout_s:
                self._shut()
        elif phase is Phase.BODY:
            if waited_s > limits.body_grace_s + self._received / limits.min_transfer_bytes_per_s:
                self._refuse(late_body(self._received, waited_s, limits))
        elif phase is Phase.LINGER and waited_s > _LINGER_S:
            self._transport.abort()

    def close_if_idle(self) -> None:
        """Close the connection unless a request is on its way."""
        if self._phase is Phase.HEAD and not self._ahead:
            self._shut()

    def cut_short(self) -> None:
        """End what is under way: the time that a server that stops has for it is over."""
        if self._phase is Phase.BUSY and self._task is not None:
            self._cut_short = True
            self._task.cancel()
        else:
            self._outlet.reset()

    def abort(self) -> None:
        """Close the connection at once."""
        self._outlet.reset()

    # Reading

    def _take(self, data: bytes) -> None:
        if self._phase is Phase.HEAD:
            if self._ahead:
                data = self._ahead.take() + data
            elif self._requests:
                # A later head begins; the first has had its time since the connection.
                self._since = self._site.clock.now()
            self._read_head(data)
        elif self._phase is Phase.BODY:
            self._read_body(data)
        elif self._phase is Phase.BUSY or self._phase is Phase.WRITE:
            self._keep_ahead(data)
        elif self._phase is Phase.LINGER:
            self._received += len(data)
            if self._received > self._site.limits.max_body_bytes:
                self._transport.abort()

    def _read_head(self, data: bytes) -> None:
        end = data.find(END)
        if end <= 0:
            self._incomplete_head(data)
            return
        end += len(END)
        try:
            opening = self._site.read_head(data[:end])
        except HttpRefusal as refusal:
            self._refuse(refusal)
            return
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
        if data.startswith(b"\r\n") and not self._skipped:
            # RFC 9112, 2.2: an empty line before a request, which some clients send after a body.
            self._skipped = True
            if len(data) > 2:  # noqa: PLR2004 - the empty line
                self._read_head(data[2:])
            else:
                self._ahead.resume()
        elif (refusal := hopeless(data, self._site.limits)) is not None:
            self._refuse(refusal)
        else:
            self._keep_ahead(data)
            self._ahead.resume()

    def _begin_body(self, opening: Opening, first: bytes) -> None:
        self._phase = Phase.BODY
        self._since = self._site.clock.now()
        self._received = 0
        if opening.head.expects and not first:
            self._transport.write(_CONTINUE)
        self._ahead.resume()
        length = opening.head.length or 0
        if length > _BULK_BYTES:
            self.bulk_received(len(first))
            if self._phase is Phase.BODY:
                self._bulk = True
                self._switch_protocol(BulkBody(self, length, first))
        else:
            self._body = PiecedBody(opening, self._site.limits, self._hold)
            if first:
                self._read_body(first)

    def _read_body(self, data: bytes) -> None:
        """Take a piece of a small body, or of one in chunks."""
        body = self._body
        if body is None:
            raise RuntimeError("a piece of a body that nobody expects")
        try:
            rest = body.feed(data)
        except PenstockError as error:
            self._refuse(error)
            return
        self._received = body.received
        if rest is not None:
            self._body = None
            if rest:
                self._keep_ahead(rest)
            self._begin(body.joined())

    def _keep_ahead(self, data: bytes) -> None:
        """Keep what was read too early; while a request is answered, read no more."""
        try:
            self._ahead.keep(data)
        except Overloaded as error:
            if self._opening is None:
                self._refuse(error)
                return
            self._close = True
        if self._opening is not None:
            self._ahead.pause()

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
        try:
            if opening.refusal is not None:
                raise opening.refusal
            self._hold.add(len(body))
        except PenstockError as refusal:
            self._count_refusal(refusal)
            self._answer(error_reply(refusal))
        else:
            self._begin(body)

    def _begin(self, body: Buffer) -> None:
        self._phase = Phase.BUSY
        self._task = self._site.loop.create_task(self._work(body))

    async def _work(self, body: Buffer) -> None:
        """Answer the present request."""
        site, opening = self._site, self._opened
        site.active += 1  # here, because a task that is cancelled before it begins has no end either
        try:
            if opening.infer is not None:
                reply = await infer_reply(site, opening.infer, body, self._hold)
            else:
                reply = await document_reply(site, opening, bytes(body), self._transport.get_extra_info("peername"))
        except asyncio.CancelledError:
            if self._phase is Phase.CLOSED:
                return  # the one who cancelled was the client, by closing the connection
            if not self._cut_short:
                raise
            reply = error_reply(Unavailable("the gateway is shutting down and could not wait longer; send it again"))
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
        self._outlet.send(written(reply, closing, with_body=head.method != b"HEAD"))
        if not keep:
            self._finish()
        elif self._outlet.blocked:
            self._phase = Phase.WRITE
        else:
            self._await_head()

    def _await_head(self) -> None:
        self._phase = Phase.HEAD
        self._since = self._site.clock.now()
        if self._ahead:
            self._site.loop.call_soon(self._proceed)
        else:
            self._ahead.resume()

    def _proceed(self) -> None:
        if self._phase is Phase.HEAD and self._ahead:
            self.data_received(b"")

    def _refuse(self, error: PenstockError) -> None:
        """Answer before the request was read to its end; nothing more can be understood on this connection."""
        if self._phase is Phase.CLOSED or self._transport.is_closing():
            return
        self._count_refusal(error)
        self._leave_bulk()
        self._body = self._opening = None
        self._hold.release()
        self._outlet.send(written(error_reply(error), _CLOSE))
        self._linger()

    def _count_refusal(self, error: PenstockError) -> None:
        if self._opening is not None and self._opening.infer is not None:
            self._site.pipeline.refused(PROTOCOL, self._opening.infer.model, error)

    def _finish(self) -> None:
        """Close the connection; with a delay where the client may still be sending."""
        if self._ahead or not self._ahead.reading:
            self._linger()
        else:
            self._shut()

    def _shut(self) -> None:
        """Close the connection when everything is sent."""
        self._phase = Phase.CLOSED
        self._transport.close()

    def _linger(self) -> None:
        self._ahead.take()
        self._phase = Phase.LINGER
        self._since = self._site.clock.now()
        self._received = 0
        self._ahead.resume()
        if self._transport.can_write_eof():
            self._transport.write_eof()
