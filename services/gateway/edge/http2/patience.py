"""How long a client may take. Looks at a connection now and then; the time is a parameter.

One look at every connection from time to time costs far less than a timer for every request.
"""

from __future__ import annotations

from services.gateway.edge.http2.connection import Connection
from services.gateway.edge.http2.faults import Code, ConnectionFault
from services.gateway.edge.http2.stream import Stream

# A look at least this often.
LOOK_EVERY_S = 0.25
# A client that does not answer the PING of a drain is taken to know.
_DRAIN_PING_S = 1.0


class Patience:
    """Watches one connection.

    Args:
        connection: What is watched.
        now: The present time in seconds.
    """

    __slots__ = ("_connection", "_pinged_at", "heard_at", "stuck_bytes", "stuck_since")

    def __init__(self, connection: Connection, now: float) -> None:
        self._connection = connection
        self._pinged_at: float | None = None
        self.heard_at = now
        # Since when the client has taken too little of what was written for it, and what it took since.
        self.stuck_since: float | None = None
        self.stuck_bytes = 0

    def look(self, now: float) -> bool:
        """End what takes too long; False when the connection is to be cut, because the client would not notice."""
        connection, bounds = self._connection, self._connection.bounds
        if self.stuck_since is not None and self._too_slow(now - self.stuck_since, self.stuck_bytes):
            return False
        if connection.held_since is not None and now - connection.held_since > bounds.head_timeout_s:
            connection.fail(
                ConnectionFault(Code.ENHANCE_YOUR_CALM, f"no complete head within {bounds.head_timeout_s:g} s")
            )
            return True
        if connection.draining_since is not None and now - connection.draining_since > _DRAIN_PING_S:
            connection.close_when_finished()
        if not connection.streams:
            if now - connection.used_at > bounds.idle_timeout_s:
                connection.drain(now)
            return True
        connection.used_at = now
        self._look_at_streams(now)
        return self._is_alive(now)

    def _look_at_streams(self, now: float) -> None:
        connection, bounds = self._connection, self._connection.bounds
        for stream in list(connection.sender.waiting):
            if stream.closed or not stream.queued_bytes:
                continue
            if stream.stalled_since is None:
                stream.stalled_since, stream.stalled_bytes = now, 0
            elif self._too_slow(now - stream.stalled_since, stream.stalled_bytes):
                self._give_up(stream)
        for stream in list(connection.streams.values()):
            since = stream.awaited_since
            if since is None or stream.remote_closed or stream.closed:
                continue
            if now - since > bounds.body_grace_s + stream.awaited_bytes / bounds.min_bytes_per_s:
                stream.awaited_since = None
                if stream.receiver is not None:
                    stream.receiver.late()

    def _give_up(self, stream: Stream) -> None:
        receiver = stream.receiver
        self._connection.reset(stream, Code.ENHANCE_YOUR_CALM)
        if receiver is not None:
            receiver.gone()

    def _is_alive(self, now: float) -> bool:
        """Whether the client, which has requests here, has said something lately; asks it when it has not."""
        bounds = self._connection.bounds
        silent_s = now - self.heard_at
        if silent_s <= bounds.ping_after_s:
            self._pinged_at = None
        elif self._pinged_at is None:
            self._pinged_at = now
            self._connection.ask_alive()
        return self._pinged_at is None or now - self._pinged_at <= bounds.ping_timeout_s

    def _too_slow(self, elapsed_s: float, moved_bytes: int) -> bool:
        bounds = self._connection.bounds
        return elapsed_s > bounds.write_grace_s + moved_bytes / bounds.min_bytes_per_s
