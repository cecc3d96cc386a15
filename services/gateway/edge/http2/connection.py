"""The server's side of one HTTP/2 connection (RFC 9113). It does no I/O, has no clock and starts nothing.

Bytes that came go into ``receive`` with the time; bytes to send go to the sink that it was given; requests go to the
application, whose receivers handle one stream each. What a client does wrong ends its stream or the connection, with
the code that the RFC asks for, and is never raised to whoever calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from services.gateway.edge.http2 import frames
from services.gateway.edge.http2.bounds import Bounds
from services.gateway.edge.http2.calm import Calm
from services.gateway.edge.http2.faults import Code, ConnectionFault, StreamFault
from services.gateway.edge.http2.frame_checks import check_frame
from services.gateway.edge.http2.frame_reader import FrameReader
from services.gateway.edge.http2.frames import ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM
from services.gateway.edge.http2.head import Head, read_head
from services.gateway.edge.http2.header_assembly import HeaderAssembly, fragment_of
from services.gateway.edge.http2.hpack_reader import Header, HpackReader
from services.gateway.edge.http2.past_streams import PastStreams
from services.gateway.edge.http2.sender import Sender
from services.gateway.edge.http2.stream import Buffer, Stream

_DRAIN = b"penstock"
_ALIVE = b"are here"
_EARNED_PER_REQUEST = 8
_BYTES_TO_EARN_ONE = 1024


class Application(Protocol):
    """Who answers requests."""

    def read(self, head: Head) -> Any:
        """Return what it wants to know of a request's head; equal heads are read once."""
        ...

    def begin(self, connection: Connection, stream: Stream, ended: bool) -> None:
        """Begin a request; sets ``stream.receiver`` unless the request is answered at once."""
        ...


class Connection:
    """One connection.

    Args:
        application: Who answers requests.
        bounds: What the client may do.
        send: Takes bytes for the client.
        done: Told when nothing more is to be sent, ever: the connection can be closed.
        now: The present time in seconds.

    Attributes:
        sender: The sending side; answers go there.
        streams: Open streams by number.
        fault: Why the connection ended; None while it goes on, or after an orderly end.
        now: The time of the last ``receive``.
        opened_at: When the connection was made.
        used_at: When the last stream began or ended, or the client last pinged.
        held_since: Since when the preface or a header block has been incomplete; None while none is.
        draining_since: When it was asked to end in order; None before.
    """

    def __init__(
        self,
        application: Application,
        bounds: Bounds,
        send: Callable[[Buffer], None],
        done: Callable[[], None],
        now: float,
    ) -> None:
        self.bounds = bounds
        self.sender = Sender(send, self._finished)
        self.streams: dict[int, Stream] = {}
        self.fault: ConnectionFault | None = None
        self.now = self.opened_at = self.used_at = now
        self.held_since: float | None = now
        self.draining_since: float | None = None
        self._application = application
        self._send = send
        self._done = done
        self._reader = FrameReader(bounds.max_frame_size, 2 * bounds.max_header_bytes)
        self._hpack = HpackReader(self._understand, 2 * bounds.max_header_bytes)
        self._idle_frames = Calm("frames that do nothing", bounds.idle_frames, bounds.idle_frames_per_s)
        self._resets = Calm("cancelled requests", bounds.resets, bounds.resets_per_s)
        self._window = bounds.connection_window
        self._unreported = 0
        self._sent_before = 0
        self._greeted = False
        self._requests = 0
        self._final_id: int | None = None
        self._over = False
        self._past = PastStreams()
        self._assembly = HeaderAssembly(2 * bounds.max_header_bytes)
        self._on = {
            frames.HEADERS: self._on_headers,
            frames.PRIORITY: self._on_priority,
            frames.RST_STREAM: self._on_rst_stream,
            frames.SETTINGS: self._on_settings,
            frames.PING: self._on_ping,
            frames.GOAWAY: self._on_goaway,
            frames.WINDOW_UPDATE: self._on_window_update,
            frames.CONTINUATION: self._on_continuation,
        }

    @property
    def over(self) -> bool:
        """Whether the connection has ended; what still comes is ignored."""
        return self._over

    # What its owner tells it

    def start(self) -> None:
        """Send our settings."""
        bounds = self.bounds
        self._send(
            frames.settings(
                (
                    (frames.MAX_CONCURRENT_STREAMS, bounds.max_streams),
                    (frames.INITIAL_WINDOW_SIZE, bounds.stream_window),
                    (frames.MAX_FRAME_SIZE, bounds.max_frame_size),
                    (frames.MAX_HEADER_LIST_SIZE, bounds.max_header_bytes),
                )
            )
            + frames.window_update(0, bounds.connection_window - frames.DEFAULT_WINDOW)
        )

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes from the client."""
        if self._over:
            return
        self.now = now
        try:
            for kind, flags, stream_id, payload, size, begins in self._reader.feed(data):
                try:
                    if kind == DATA and self._greeted and not self._assembly.stream_id:
                        self._on_data(flags, stream_id, payload, size, begins)
                    else:
                        self._expect(kind, stream_id)
                        check_frame(kind, flags, stream_id, payload)
                        if kind in self._on:
                            self._on[kind](flags, stream_id, payload)
                        else:
                            self._idle_frames.spend(now)
                except StreamFault as fault:
                    self._cut_off(fault)
                if self.over:
                    return
        except ConnectionFault as fault:
            self.fail(fault)
            return
        if not self._reader.holds and not self._assembly.stream_id:
            self.held_since = None
        elif self.held_since is None:
            self.held_since = now

    def fail(self, fault: ConnectionFault) -> None:
        """End the connection with an error."""
        if self._over:
            return
        self.fault = fault.with_traceback(None)  # which would hold this connection
        self._send(frames.goaway(self._past.last_id, fault.code, fault.words))
        self._end()

    def lost(self) -> None:
        """Take note that the client is gone."""
        if not self._over:
            self._end()

    def drain(self, now: float) -> None:
        """Ask the client to go elsewhere with its next requests; those that are on their way are still served.

        A first GOAWAY announces the end and names no request. When the client has answered the PING behind it, it has
        stopped sending requests here: then the second one says which was the last.
        """
        if self._over or self.draining_since is not None:
            return
        self.draining_since = now
        self._send(frames.goaway(frames.LARGEST_STREAM_ID, Code.NO_ERROR, "moving on") + frames.ping(_DRAIN, ack=False))

    def close_when_finished(self) -> None:
        """Take no new request from here on; the connection is done with its last stream."""
        if self._over or self._final_id is not None:
            return
        self._final_id = self._past.last_id
        self._send(frames.goaway(self._past.last_id, Code.NO_ERROR, "moving on"))
        self._maybe_done()

    def ask_alive(self) -> None:
        """Ask the client for a sign of life; any byte is one."""
        self._send(frames.ping(_ALIVE, ack=False))

    def resume(self) -> None:
        """Go on sending data after a pause."""
        self.sender.paused = False
        if not self._over:
            self.sender.pump()

    # What receivers tell it

    def consumed(self, stream: Stream, size: int) -> None:
        """Give the client room on a stream for as many bytes as were taken from it."""
        stream.unreported += size
        if stream.unreported >= self.bounds.stream_window // 2 and not stream.remote_closed and not stream.closed:
            stream.receive_window += stream.unreported
            self._send(frames.window_update(stream.id, stream.unreported))
            stream.unreported = 0

    def reset(self, stream: Stream, code: Code) -> None:
        """End a stream with an error; its receiver is not told."""
        if not stream.closed:
            self._send(frames.rst_stream(stream.id, code))
            self._forget(stream, cut=True)

    # Frames

    def _expect(self, kind: int, stream_id: int) -> None:
        assembled = self._assembly.stream_id
        if assembled and (kind != CONTINUATION or stream_id != assembled):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "another frame inside a header block")
        if not self._greeted and kind != frames.SETTINGS:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")

    def _on_data(self, flags: int, stream_id: int, payload: bytes, size: int, begins: int) -> None:
        self._take_room(size)
        stream = self.streams.get(stream_id)
        if stream is None:
            self._past.judge(stream_id, "DATA")
            self._idle_frames.spend(self.now)
            return
        if stream.remote_closed:
            raise StreamFault(stream_id, Code.STREAM_CLOSED, "data after the end of the stream")
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise StreamFault(stream_id, Code.FLOW_CONTROL_ERROR, "more data than the stream's window")
        ended = bool(flags & END_STREAM)
        if 0 <= begins < frames.DEFAULT_FRAME_SIZE and not ended:
            stream.small_frames += 1
            if stream.small_frames > self.bounds.max_small_frames:
                raise StreamFault(stream_id, Code.ENHANCE_YOUR_CALM, "a message in too many small frames")
            if not payload and not begins:
                self._idle_frames.spend(self.now)
        if stream.body_left is not None:
            stream.body_left -= len(payload)
            if stream.body_left < 0 or (ended and stream.body_left):
                raise StreamFault(stream_id, Code.PROTOCOL_ERROR, "the body is not as long as content-length says")
        stream.remote_closed = ended
        if size > len(payload):
            self.consumed(stream, size - len(payload))  # padding, which no receiver sees
        if stream.receiver is not None and (payload or ended):
            stream.receiver.data(payload, ended)

    def _take_room(self, size: int) -> None:
        """Count data against the connection's window, and give room back in large steps, whatever becomes of them."""
        self._window -= size
        if self._window < 0:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "more data than the connection's window")
        self._unreported += size
        if self._unreported >= self.bounds.connection_window // 2:
            self._window += self._unreported
            self._send(frames.window_update(0, self._unreported))
            self._idle_frames.earn(self._unreported // _BYTES_TO_EARN_ONE)
            self._unreported = 0

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id % 2 == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"HEADERS on stream {stream_id}, which is not a client's")
        fragment = fragment_of(stream_id, flags, payload)
        if flags & END_HEADERS:
            self._on_block(stream_id, flags, fragment)
        else:
            self._assembly.begin(stream_id, flags, fragment)

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        assembly = self._assembly
        assembly.add(payload)
        if flags & END_HEADERS:
            self._on_block(stream_id, assembly.flags, assembly.complete())

    def _on_block(self, stream_id: int, flags: int, block: bytes) -> None:
        head, known = self._hpack.read(block)
        ended = bool(flags & END_STREAM)
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._on_trailers(stream, head, ended)
        elif stream_id > self._past.last_id:
            self._past.last_id = stream_id
            self._on_request(stream_id, head, known, ended)
        else:
            self._past.judge(stream_id, "HEADERS")
            self._idle_frames.spend(self.now)

    def _on_request(self, stream_id: int, head: Head, known: Any, ended: bool) -> None:
        if self._final_id is not None:
            self._past.add(stream_id, cut=True)  # the client was told that this one is not answered
            return
        if len(self.streams) >= self.bounds.max_streams:
            raise StreamFault(stream_id, Code.REFUSED_STREAM, f"{self.bounds.max_streams} streams are open")
        if head.fault or head.trailers:
            raise StreamFault(stream_id, Code.PROTOCOL_ERROR, head.fault or "no request")
        if ended and head.content_length:
            raise StreamFault(stream_id, Code.PROTOCOL_ERROR, "the body is not as long as content-length says")
        self._requests += 1
        self.used_at = self.now
        stream = Stream(stream_id, known, self.sender.initial_window, self.bounds.stream_window)
        stream.body_left = head.content_length
        stream.remote_closed = ended
        self.streams[stream_id] = stream
        if self._requests >= self.bounds.max_requests and self.draining_since is None:
            self.drain(self.now)
        self._application.begin(self, stream, ended)

    def _on_trailers(self, stream: Stream, head: Head, ended: bool) -> None:
        if stream.remote_closed:
            raise StreamFault(stream.id, Code.STREAM_CLOSED, "HEADERS after the end of the stream")
        if not ended or head.fault or not head.trailers:
            raise StreamFault(stream.id, Code.PROTOCOL_ERROR, head.fault or "a second head that is no trailers")
        if stream.body_left:
            raise StreamFault(stream.id, Code.PROTOCOL_ERROR, "the body is not as long as content-length says")
        stream.remote_closed = True
        if stream.receiver is not None:
            stream.receiver.data(b"", True)

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        self._idle_frames.spend(self.now)
        if len(payload) != 5:  # noqa: PLR2004 - RFC 9113, section 6.3
            raise self._fault_of(stream_id, Code.FRAME_SIZE_ERROR, "a PRIORITY frame that has not five bytes")
        if frames.read_number(payload) == stream_id:
            raise self._fault_of(stream_id, Code.PROTOCOL_ERROR, "a stream that depends on itself")

    def _on_rst_stream(self, _flags: int, stream_id: int, _payload: bytes) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._forget(stream, cut=False)
            if stream.receiver is not None:
                stream.receiver.gone()
            self._resets.spend(self.now)
        elif self._past.is_idle(stream_id):
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"RST_STREAM on stream {stream_id}, which nobody opened")
        else:
            self._idle_frames.spend(self.now)

    def _on_settings(self, flags: int, _stream_id: int, payload: bytes) -> None:
        self._idle_frames.spend(self.now, 1 + len(payload) // 6)
        if flags & ACK:
            return
        self._greeted = True
        for name, value in frames.read_settings(payload):
            self.sender.apply(name, value, self.streams.values())
        self._send(frames.SETTINGS_ACK)
        self.sender.pump()

    def _on_ping(self, flags: int, _stream_id: int, payload: bytes) -> None:
        self._idle_frames.spend(self.now)
        if not flags & ACK:
            self.used_at = self.now
            self._send(frames.ping(payload, ack=True))
        elif payload == _DRAIN and self.draining_since is not None:
            self.close_when_finished()

    def _on_goaway(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        self._idle_frames.spend(self.now)

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        # Whoever takes data may say so, and whoever takes none has nothing to say.
        taken = self.sender.sent_bytes - self._sent_before
        self._sent_before = self.sender.sent_bytes
        self._idle_frames.earn(taken // _BYTES_TO_EARN_ONE)
        self._idle_frames.spend(self.now)
        increment = frames.read_number(payload)
        if stream_id == 0:
            if not increment:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a WINDOW_UPDATE by 0")
            self.sender.grant(increment)
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._past.is_idle(stream_id):
                raise ConnectionFault(Code.PROTOCOL_ERROR, f"WINDOW_UPDATE on stream {stream_id}, which nobody opened")
        elif not increment:
            raise StreamFault(stream_id, Code.PROTOCOL_ERROR, "a WINDOW_UPDATE by 0")
        else:
            self.sender.grant_stream(stream, increment)

    # Ends

    def _understand(self, headers: list[Header]) -> tuple[Head, Any]:
        head = read_head(headers)
        return head, None if head.fault or head.trailers else self._application.read(head)

    def _fault_of(self, stream_id: int, code: Code, words: str) -> Exception:
        """Return the fault of a frame that may come on a stream that is not open, which cannot be reset."""
        return StreamFault(stream_id, code, words) if stream_id in self.streams else ConnectionFault(code, words)

    def _cut_off(self, fault: StreamFault) -> None:
        stream = self.streams.get(fault.stream_id)
        self._send(frames.rst_stream(fault.stream_id, fault.code))
        if stream is None:
            self._past.add(fault.stream_id, cut=True)
        else:
            self._forget(stream, cut=True)
            if stream.receiver is not None:
                stream.receiver.gone()
        self._idle_frames.spend(self.now, _EARNED_PER_REQUEST)

    def _finished(self, stream: Stream) -> None:
        """Close a stream whose answer was sent; a client that still sends is asked to stop."""
        if not stream.remote_closed:
            self._send(frames.rst_stream(stream.id, Code.NO_ERROR))
        self._idle_frames.earn(_EARNED_PER_REQUEST)
        self._resets.earn(1)
        self._forget(stream, cut=not stream.remote_closed)

    def _forget(self, stream: Stream, *, cut: bool) -> None:
        stream.closed = True
        stream.queue = None
        stream.queued_bytes = 0
        del self.streams[stream.id]
        self._past.add(stream.id, cut=cut)
        self.used_at = self.now
        if self._final_id is not None:
            self._maybe_done()

    def _maybe_done(self) -> None:
        if not self.streams and not self._over:
            self._end()

    def _end(self) -> None:
        self._over = True
        streams = list(self.streams.values())
        self.streams.clear()
        for stream in streams:
            stream.closed = True
            stream.queue = None
            if stream.receiver is not None:
                stream.receiver.gone()
        self._done()
