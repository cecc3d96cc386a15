"""One stream as the server sees it: its windows, which sides are closed, and what waits to be sent."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

Buffer = bytes | memoryview


class Receiver(Protocol):
    """Whoever handles one stream. It is told of nothing more after ``gone``, and after its answer has ended."""

    def data(self, payload: bytes, ended: bool) -> None:
        """Take a part of the body; ``ended`` with the last one, which may be empty."""
        ...

    def sent(self) -> None:
        """All data that waited for the client have been handed to the connection."""
        ...

    def gone(self) -> None:
        """The client, or the connection, ended the stream."""
        ...

    def late(self) -> None:
        """What the client is sending takes too long."""
        ...


class Stream:
    """One stream.

    Attributes:
        id: Stream number.
        head: What the application made of the request's head.
        receiver: Who handles it; the application sets it when it begins a stream.
        send_window: Bytes that may be sent.
        receive_window: Bytes that may come.
        unreported: Bytes that came and whose room was not given back to the client yet.
        remote_closed: The client has sent all.
        closed: Nothing more is sent or taken.
        body_left: Bytes that are missing from what content-length says; None when it says nothing.
        small_frames: DATA frames that were not full; who takes the data sets it to 0 with each message.
        awaited_since: When the message that is arriving began; None while none is.
        awaited_bytes: What has come of it.
        queue: Data that wait for room, oldest first; None before the first.
        queued_bytes: Their size.
        trailers: The header block that follows the last data; None while more may come.
        stalled_since: Since when data have waited; None when none do.
        stalled_bytes: What of them was sent since then.
    """

    __slots__ = (
        "awaited_bytes", "awaited_since", "body_left", "closed", "head", "id", "queue", "queued_bytes",
        "receive_window", "receiver", "remote_closed", "send_window", "small_frames", "stalled_bytes", "stalled_since",
        "trailers", "unreported",
    )  # fmt: skip

    def __init__(self, stream_id: int, head: Any, send_window: int, receive_window: int) -> None:
        self.id = stream_id
        self.head = head
        self.receiver: Receiver | None = None
        self.send_window = send_window
        self.receive_window = receive_window
        self.unreported = 0
        self.remote_closed = False
        self.closed = False
        self.body_left: int | None = None
        self.small_frames = 0
        self.awaited_since: float | None = None
        self.awaited_bytes = 0
        self.queue: deque[Buffer] | None = None
        self.queued_bytes = 0
        self.trailers: bytes | None = None
        self.stalled_since: float | None = None
        self.stalled_bytes = 0
