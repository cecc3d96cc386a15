"""What is remembered of streams that are not open any more, to judge frames that still come for them. Pure."""

from __future__ import annotations

from collections import deque

from services.gateway.edge.http2.faults import Code, ConnectionFault

_REMEMBERED = 256


class PastStreams:
    """The numbers of one connection's latest streams that ended, and of those that were cut off.

    On a stream that was cut off the client may still be sending, because it does not know yet; on one that it ended
    itself it may not.
    """

    __slots__ = ("_cut", "_ended", "last_id")

    def __init__(self) -> None:
        # The highest number that the client has used.
        self.last_id = 0
        self._ended: deque[int] = deque(maxlen=_REMEMBERED)
        self._cut: deque[int] = deque(maxlen=_REMEMBERED)

    def add(self, stream_id: int, *, cut: bool) -> None:
        """Remember a stream."""
        (self._cut if cut else self._ended).append(stream_id)

    def is_idle(self, stream_id: int) -> bool:
        """Whether nobody has opened this stream."""
        return stream_id == 0 or stream_id % 2 == 0 or stream_id > self.last_id

    def judge(self, stream_id: int, kind: str) -> None:
        """Judge DATA or HEADERS on a stream that is not open; returns where the frame is to be ignored.

        Raises:
            ConnectionFault: The client knows better.
        """
        if self.is_idle(stream_id):
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"{kind} on stream {stream_id}, which nobody opened")
        if stream_id in self._cut:
            return
        if kind == "HEADERS" and stream_id not in self._ended:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"stream {stream_id} is opened after stream {self.last_id}")
        raise ConnectionFault(Code.STREAM_CLOSED, f"{kind} on stream {stream_id}, which has ended")
