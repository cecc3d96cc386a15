"""The sending side of one connection: header blocks and data, as far as the client's windows let them. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from services.gateway.edge.http2 import frames
from services.gateway.edge.http2.faults import Code, ConnectionFault, StreamFault
from services.gateway.edge.http2.frames import DATA, END_HEADERS, END_STREAM, HEADERS
from services.gateway.edge.http2.header_block import EMPTY_TABLE
from services.gateway.edge.http2.stream import Buffer, Stream

# Streams that wait take turns of so many bytes.
_TURN_BYTES = 64 * 1024
# A copy of so much is cheaper than a piece of its own.
_JOIN_BYTES = 4 * 1024
_pack = frames.FRAME_HEAD.pack


class Sender:
    """Writes frames to a sink.

    Args:
        send: Takes bytes for the client, in order. It may set ``paused`` while it is called.
        finished: Told of a stream whose last frame was sent.

    Attributes:
        paused: While true, no data are sent, only what answers the client's own frames.
        sent_bytes: Bytes of data sent so far.
    """

    def __init__(self, send: Callable[[Buffer], None], finished: Callable[[Stream], None]) -> None:
        self.send = send
        self.paused = False
        self.sent_bytes = 0
        self.initial_window = frames.DEFAULT_WINDOW
        self._finished = finished
        self._window = frames.DEFAULT_WINDOW
        self._max_frame_size = frames.DEFAULT_FRAME_SIZE
        self._waiting: deque[Stream] = deque()
        self._prefix = b""
        self._table_shrunk = False

    @property
    def waiting(self) -> deque[Stream]:
        """The streams whose data wait for room, oldest turn first."""
        return self._waiting

    def answer(self, stream: Stream, head: bytes, body: Sequence[Buffer], length: int, trailers: bytes) -> bool:
        """Send a whole response, in one piece where there is room for it.

        Args:
            stream: The stream, of which nothing was sent yet.
            head: Header block of the response.
            body: The data in parts, which must not change until they are sent.
            length: Their size.
            trailers: Header block of the trailers.

        Returns:
            False when data wait for room; then the receiver's ``sent`` follows, or ``gone``.
        """
        if stream.closed:
            return True
        if (
            length > stream.send_window
            or length > self._window
            or length > _TURN_BYTES
            or length > self._max_frame_size
            or self._waiting
            or self.paused
            or self._prefix
        ):
            self.head(stream, head)
            self.data(stream, body)
            return self.end(stream, trailers)
        number = stream.id
        self.send(
            b"".join(
                (
                    _pack(0, len(head), HEADERS, END_HEADERS, number),
                    head,
                    _pack(length >> 16, length & 0xFFFF, DATA, 0, number),
                    *body,
                    _pack(0, len(trailers), HEADERS, END_HEADERS | END_STREAM, number),
                    trailers,
                )
            )
        )
        self._window -= length
        self.sent_bytes += length
        self._finished(stream)
        return True

    def head(self, stream: Stream, block: bytes, *, end: bool = False) -> None:
        """Send a header block that begins a response, or is one."""
        if stream.closed:
            return
        self._block(stream, block, end=end)
        if end:
            self._finished(stream)

    def data(self, stream: Stream, parts: Sequence[Buffer]) -> bool:
        """Send data, now or when there is room; False when some wait, and then the receiver's ``sent`` follows."""
        if stream.closed:
            return True
        if stream.queue is None:
            stream.queue = deque()
        waits = stream.queued_bytes > 0
        for part in parts:
            if len(part):
                stream.queue.append(part)
                stream.queued_bytes += len(part)
        if waits:
            return False
        if not self._waiting:
            while stream.queued_bytes and not self.paused and self._turn(stream):
                pass
        if stream.queued_bytes:
            self._waiting.append(stream)
        return not stream.queued_bytes

    def end(self, stream: Stream, trailers: bytes) -> bool:
        """Send the trailers after the last data; False when data wait."""
        if stream.closed:
            return True
        stream.trailers = trailers
        if stream.queued_bytes:
            return False
        self._block(stream, trailers, end=True)
        self._finished(stream)
        return True

    def pump(self) -> None:
        """Send what there is room for, each waiting stream in its turn."""
        waiting = self._waiting
        blocked = 0
        while waiting and blocked < len(waiting) and self._window > 0 and not self.paused:
            stream = waiting.popleft()
            if stream.closed:
                continue
            moved = self._turn(stream)
            if stream.queued_bytes:
                blocked = 0 if moved else blocked + 1
                waiting.append(stream)
                continue
            blocked = 0
            stream.stalled_since = None
            if stream.trailers is not None:
                self._block(stream, stream.trailers, end=True)
                self._finished(stream)
            if stream.receiver is not None:
                stream.receiver.sent()

    def grant(self, increment: int) -> None:
        """Take note of room on the connection.

        Raises:
            ConnectionFault: It is more than a window can be.
        """
        self._window += increment
        if self._window > frames.LARGEST_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "the connection's window is larger than 2^31 - 1")
        self.pump()

    def grant_stream(self, stream: Stream, increment: int) -> None:
        """Take note of room on a stream.

        Raises:
            StreamFault: It is more than a window can be.
        """
        stream.send_window += increment
        if stream.send_window > frames.LARGEST_WINDOW:
            raise StreamFault(stream.id, Code.FLOW_CONTROL_ERROR, "the stream's window is larger than 2^31 - 1")
        if stream.queued_bytes:
            self.pump()

    def apply(self, name: int, value: int, streams: Iterable[Stream]) -> None:
        """Obey one of the client's settings; unknown ones have no meaning.

        Raises:
            ConnectionFault: It has a value that it cannot have.
        """
        if name == frames.HEADER_TABLE_SIZE:
            # Our header blocks need no table. A client that makes it smaller has to be told once that it is empty.
            if value < frames.DEFAULT_TABLE_SIZE and not self._table_shrunk:
                self._table_shrunk = True
                self._prefix = EMPTY_TABLE
        elif name == frames.ENABLE_PUSH and value > 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"SETTINGS_ENABLE_PUSH is {value}; expected 0 or 1")
        elif name == frames.INITIAL_WINDOW_SIZE:
            self._set_initial_window(value, streams)
        elif name == frames.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME_SIZE <= value <= frames.LARGEST_FRAME_SIZE:
                raise ConnectionFault(Code.PROTOCOL_ERROR, f"SETTINGS_MAX_FRAME_SIZE is {value}")
            self._max_frame_size = value

    def _set_initial_window(self, value: int, streams: Iterable[Stream]) -> None:
        if value > frames.LARGEST_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE is {value}")
        grown = value - self.initial_window
        self.initial_window = value
        for stream in streams:
            stream.send_window += grown
            if stream.send_window > frames.LARGEST_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a stream's window is larger than 2^31 - 1")

    def _block(self, stream: Stream, block: bytes, *, end: bool) -> None:
        if self._prefix:
            block = self._prefix + block
            self._prefix = b""
        self.send(frames.header_frames(stream.id, block, end_stream=end, max_frame_size=self._max_frame_size))

    def _turn(self, stream: Stream) -> int:
        """Send up to one turn of a stream's data, and return how much it was."""
        queue = stream.queue
        if not queue:
            return 0
        room = min(stream.send_window, self._window, _TURN_BYTES)
        moved = 0
        while room > 0 and queue and not self.paused:
            part = queue[0]
            size = min(len(part), room, self._max_frame_size)
            if size < len(part):
                view = memoryview(part)
                piece: Buffer = view[:size]
                queue[0] = view[size:]
            else:
                piece = queue.popleft()
            head = _pack(size >> 16, size & 0xFFFF, DATA, 0, stream.id)
            if size <= _JOIN_BYTES:
                self.send(b"".join((head, piece)))
            else:
                self.send(head)
                self.send(piece)
            room -= size
            moved += size
        self._window -= moved
        stream.send_window -= moved
        stream.queued_bytes -= moved
        stream.stalled_bytes += moved
        self.sent_bytes += moved
        return moved
