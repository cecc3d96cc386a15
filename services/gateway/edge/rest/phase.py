"""What a connection can be doing."""

from __future__ import annotations

import enum


class Phase(enum.Enum):
    """What a connection does."""

    HEAD = "waits for a head, or for the rest of one"
    BODY = "receives a body"
    BUSY = "answers"
    WRITE = "waits for the client to take the answer"
    LINGER = "throws away what a refused client still sends"
    CLOSED = "closes"
