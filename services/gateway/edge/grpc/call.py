"""One call: how its messages come together, how it is answered, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import Any

from services.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    PenstockError,
    UnsupportedEncoding,
)
from services.gateway.edge.buffer_budget import Hold
from services.gateway.edge.compression import inflate
from services.gateway.edge.grpc.head import IDENTITY, GrpcHead
from services.gateway.edge.grpc.message_reader import PREFIX, Buffer, MessageReader, check_prefix
from services.gateway.edge.grpc.site import Site
from services.gateway.edge.grpc.status import HEAD, UNSUPPORTED_ENCODING, error_trailers
from services.gateway.edge.http2.connection import Connection
from services.gateway.edge.http2.faults import Code
from services.gateway.edge.http2.stream import Stream
from services.gateway.edge.paced import paced

_log = logging.getLogger(__name__)


class Call:
    """What unary calls and streams have in common.

    Args:
        site: What calls share.
        connection: The client's connection.
        stream: The call's stream.
    """

    __slots__ = ("begun_at", "connection", "head", "hold", "over", "reader", "site", "stream")

    def __init__(self, site: Site, connection: Connection, stream: Stream) -> None:
        self.site = site
        self.connection = connection
        self.stream = stream
        self.head: GrpcHead = stream.head
        self.hold = Hold(site.budget)
        self.reader = MessageReader(site.limits)
        self.begun_at = monotonic()
        self.over = False

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work on the call in a task that the site owns."""
        task = asyncio.create_task(work)
        self.site.tasks.add(task)
        task.add_done_callback(self.site.tasks.discard)
        return task

    def left_s(self) -> float | None:
        """Return how much of the client's time is left; None without a deadline."""
        timeout_s = self.head.timeout_s
        return None if timeout_s is None else timeout_s - (monotonic() - self.begun_at)

    async def plain(self, message: Buffer, hold: Hold) -> Buffer:
        """Undo a message's compression, and count what it becomes in ``hold``.

        Raises:
            InvalidRequest: It is not compressed as the head says.
            PayloadTooLarge: It inflates to more than is taken.
            Overloaded: The worker has no room for it.
        """
        if self.head.encoding == IDENTITY:
            raise InvalidRequest("a message is flagged as compressed, and grpc-encoding does not say how")
        body = message if isinstance(message, bytes) else memoryview(message)
        return await paced(inflate(self.head.encoding, body, self.site.limits, hold.add))

    def end(self, error: PenstockError, *, begun: bool = False) -> None:
        """End the call with an error."""
        if self.over:
            return
        self.close()
        if not self.stream.closed:
            extra = UNSUPPORTED_ENCODING if isinstance(error, UnsupportedEncoding) else ()
            trailers = error_trailers(error, begun=begun, extra=extra)
            if begun:
                self.connection.sender.end(self.stream, trailers)
            else:
                self.connection.sender.head(self.stream, trailers, end=True)

    def close(self) -> None:
        """Let go of what the call holds."""
        self.over = True
        self.stream.awaited_since = None
        self.hold.release()

    def late_error(self) -> DeadlineExceeded:
        """Return what a client is told whose message does not come."""
        limits = self.site.limits
        return DeadlineExceeded(
            f"the message was not complete after {limits.body_grace_s:g} s and 1 s for each "
            f"{limits.min_transfer_bytes_per_s} bytes; send faster"
        )


class Unary(Call):
    """A call of one message and one answer. A subclass says how it is answered."""

    __slots__ = ("_answered", "_complete", "_task", "compressed", "message")

    def __init__(self, site: Site, connection: Connection, stream: Stream) -> None:
        super().__init__(site, connection, stream)
        self.message: Buffer = b""
        self.compressed = False
        self._complete = False
        self._answered = False
        self._task: asyncio.Task[None] | None = None
        stream.awaited_since = connection.now

    async def answer(self) -> None:
        """Answer ``self.message`` with ``send``; an error that it raises reaches the client as a status."""
        raise NotImplementedError

    def refused(self, error: PenstockError) -> None:
        """Take note of a call that is refused before its message was complete."""

    def data(self, payload: bytes, ended: bool) -> None:
        """Take a part of the message."""
        if self.over:
            return
        try:
            self.hold.add(len(payload))
            self._take(payload)
            if ended:
                if not self._complete:
                    raise InvalidRequest("the call ended before its message was complete")
                self._task = self.start(self._work())
                return
        except PenstockError as error:
            self.refused(error)
            self.end(error)
            return
        self.stream.awaited_bytes += len(payload)
        self.connection.consumed(self.stream, len(payload))

    def send(self, parts: Sequence[Buffer], trailers: bytes, head: bytes = HEAD) -> None:
        """Send the answer, all of it.

        Args:
            parts: The message without its prefix.
            trailers: Header block of the trailers.
            head: Header block before the message.
        """
        if self.over:
            return
        length = sum([len(part) for part in parts])
        flag = 0 if head is HEAD else 1
        self._answered = True
        whole = self.connection.sender.answer(
            self.stream, head, (PREFIX.pack(flag, length), *parts), PREFIX.size + length, trailers
        )
        if whole:
            self.close()
            return
        # The answer waits for the client to take it, and counts in place of the request.
        self.hold.release()
        try:
            self.hold.add(length)
        except PenstockError:
            self.close()
            self.connection.reset(self.stream, Code.ENHANCE_YOUR_CALM)

    def sent(self) -> None:
        """The client has taken the answer."""
        if self._answered:
            self.close()

    def gone(self) -> None:
        """Stop working for a client that left."""
        self.close()
        if self._task is not None:
            self._task.cancel()

    def late(self) -> None:
        """Refuse a message that does not come."""
        error = self.late_error()
        self.refused(error)
        self.end(error)

    def _take(self, payload: bytes) -> None:
        size = len(payload)
        if not self._complete and not self.reader.held_bytes and size >= PREFIX.size:
            # Nearly always: the whole message in one piece. It stays where it is.
            flag, length = PREFIX.unpack_from(payload)
            check_prefix(flag, length, self.site.limits)
            if length == size - PREFIX.size:
                self._is_complete(flag == 1, memoryview(payload)[PREFIX.size :])
                return
        if size:
            self.reader.feed(payload)
            if not self._complete and (found := self.reader.take()) is not None:
                self._is_complete(*found)
            if self._complete and self.reader.held_bytes:
                raise InvalidRequest("the call has more than one message; this method takes one")

    def _is_complete(self, compressed: bool, message: Buffer) -> None:
        self.compressed, self.message = compressed, message
        self._complete = True
        self.stream.awaited_since = None

    async def _work(self) -> None:
        try:
            if self.compressed:
                try:
                    self.message = await self.plain(self.message, self.hold)
                except PenstockError as error:
                    self.refused(error)
                    raise
            await self.answer()
        except PenstockError as error:
            self.end(error)
        except Exception as error:  # noqa: BLE001 - the last line before a client without an answer
            self.end(defect(error, self.head.path))


def defect(error: Exception, path: str) -> PenstockError:
    """Log an error that nobody expected, and return what its client is told."""
    incident = uuid.uuid4().hex[:12]
    _log.error("incident %s: a call of %s", incident, path[:200], exc_info=error)
    return PenstockError(f"the gateway failed at this request (incident {incident}); its log has the details")
