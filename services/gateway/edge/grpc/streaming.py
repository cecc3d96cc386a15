"""A call with any number of messages in either direction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.core.errors import InvalidRequest, PenstockError
from services.gateway.edge.grpc.call import Call, defect
from services.gateway.edge.grpc.message_reader import PREFIX, Buffer
from services.gateway.edge.grpc.site import Site
from services.gateway.edge.grpc.status import HEAD, OK_TRAILERS
from services.gateway.edge.http2.connection import Connection
from services.gateway.edge.http2.stream import Stream


class Streaming(Call):
    """A call of several messages. A subclass says what is done with each.

    Messages are taken one after the other by ``take``; while the subclass is ``busy`` the client gets no room for more,
    and what it has sent already waits here, bounded by the stream's window.
    """

    __slots__ = ("_begun", "_held", "_room", "half_closed")

    def __init__(self, site: Site, connection: Connection, stream: Stream) -> None:
        super().__init__(site, connection, stream)
        self.half_closed = False
        self._begun = False
        self._held = 0
        self._room: asyncio.Event | None = None

    @property
    def busy(self) -> bool:
        """Whether the next message has to wait."""
        return False

    def take(self, compressed: bool, message: Buffer) -> None:
        """Take the next message."""
        raise NotImplementedError

    def drained(self) -> None:
        """The client has sent everything, and all of it was taken."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Stop whatever is under way; the call is over."""

    def refused(self, error: PenstockError) -> None:
        """Take note of a message that could not be read."""

    def data(self, payload: bytes, ended: bool) -> None:
        """Take what came."""
        if self.over:
            return
        self.half_closed = ended
        try:
            self.hold.add(len(payload))
            self.reader.feed(payload)
            self.stream.awaited_bytes += len(payload)
            self._held += len(payload)
            self.advance()
        except PenstockError as error:
            self.refused(error)
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - the last line before a client without an answer
            self.fail(defect(error, self.head.path))

    def advance(self) -> None:
        """Take messages for as long as none has to wait, and give the client room for as many bytes.

        Raises:
            PenstockError: The next message is none.
        """
        while not self.over and not self.busy and (found := self.reader.take()) is not None:
            self.stream.small_frames = 0
            self.stream.awaited_since = None
            # What is left in the reader stays with the call; a message that is worked on, its worker has to count.
            self.hold.release()
            self.hold.add(self.reader.held_bytes)
            self.take(*found)
        if self.over or self.busy:
            return
        self.connection.consumed(self.stream, self._held)
        self._held = 0
        if self.half_closed:
            if self.reader.held_bytes:
                raise InvalidRequest("the call ended inside a message")
            self.drained()
        elif self.reader.held_bytes and self.stream.awaited_since is None:
            self.stream.awaited_since, self.stream.awaited_bytes = self.connection.now, self.reader.held_bytes

    def begin(self) -> None:
        """Send the head of the response."""
        if not self._begun and not self.over:
            self._begun = True
            self.connection.sender.head(self.stream, HEAD)

    def send(self, parts: Sequence[Buffer]) -> bool:
        """Send one message; False when the client has to take earlier ones first: then await ``room``."""
        if self.over:
            return True
        self.begin()
        length = sum([len(part) for part in parts])
        whole = self.connection.sender.data(self.stream, [b"".join([PREFIX.pack(0, length), *parts])])
        if not whole and self._room is None:
            self._room = asyncio.Event()
        return whole

    async def room(self) -> None:
        """Wait until the client has taken what was sent, or the call is over."""
        while self._room is not None and not self.over:
            await self._room.wait()

    def finish(self) -> None:
        """End the call well."""
        if not self.over:
            self.begin()
            self.close()
            if not self.stream.closed:
                self.connection.sender.end(self.stream, OK_TRAILERS)

    def fail(self, error: PenstockError) -> None:
        """End the call with an error, and whatever is under way."""
        if not self.over:
            self.end(error, begun=self._begun)
            self.cancel()

    def close(self) -> None:
        """Let go of what the call holds."""
        super().close()
        self._wake()

    def sent(self) -> None:
        """The client has taken what waited."""
        self._wake()

    def gone(self) -> None:
        """Stop working for a client that left."""
        self.close()
        self.cancel()

    def late(self) -> None:
        """End a call whose message does not come."""
        error = self.late_error()
        self.refused(error)
        self.fail(error)

    def _wake(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None
