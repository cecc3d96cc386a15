"""The bounds of one HTTP/2 connection."""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway.limits import Limits

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds on what one connection may send and how long it may take.

    Attributes:
        max_streams: Streams that are open at once.
        max_requests: Requests after which the connection is closed in order.
        max_header_bytes: Largest header list that a request may have; up to twice as much is read, to say so.
        max_small_frames: DATA frames of one message that are not full.
        stream_window: Bytes of one stream that may be under way to us.
        connection_window: The same for all streams of a connection.
        max_frame_size: Largest frame that is taken; DATA frames are never held, so a large one costs no memory.
        resets: Requests that a client may cancel in a burst.
        resets_per_s: Requests that it may cancel for ever.
        idle_frames: Frames without a use that a client may send in a burst.
        idle_frames_per_s: The same for ever.
        head_timeout_s: Longest time to the first frame, and for any header block.
        body_grace_s: Time for a message, before ``min_bytes_per_s`` counts.
        write_grace_s: Time for a client to take an answer, before ``min_bytes_per_s`` counts.
        min_bytes_per_s: Slowest transfer in either direction.
        idle_timeout_s: Longest time without a stream.
        ping_after_s: A client that has streams and says nothing for so long is asked whether it is there.
        ping_timeout_s: How long it may take to answer that.
    """

    max_streams: int = 256
    max_requests: int = 1_000_000
    max_header_bytes: int = 32 * 1024
    max_small_frames: int = 16 * 1024
    stream_window: int = MIB
    connection_window: int = 16 * MIB
    max_frame_size: int = MIB
    resets: int = 1000
    resets_per_s: int = 200
    idle_frames: int = 10_000
    idle_frames_per_s: int = 1000
    head_timeout_s: float = 10.0
    body_grace_s: float = 8.0
    write_grace_s: float = 8.0
    min_bytes_per_s: int = 64 * 1024
    idle_timeout_s: float = 75.0
    ping_after_s: float = 60.0
    ping_timeout_s: float = 20.0

    @classmethod
    def of(cls, limits: Limits) -> Bounds:
        """Return the bounds that the gateway's limits ask for."""
        return cls(
            max_streams=limits.max_streams_per_connection,
            max_requests=limits.max_requests_per_connection,
            max_header_bytes=limits.max_header_bytes,
            max_small_frames=limits.max_chunks,
            head_timeout_s=limits.head_timeout_s,
            body_grace_s=limits.body_grace_s,
            write_grace_s=limits.write_grace_s,
            min_bytes_per_s=limits.min_transfer_bytes_per_s,
            idle_timeout_s=limits.idle_timeout_s,
        )
