"""How much of what costs work and brings nothing one connection may send. Time is a parameter."""

from __future__ import annotations

from services.gateway.edge.http2.faults import Code, ConnectionFault


class Calm:
    """A store of tokens that time and useful traffic fill and idle traffic empties.

    Args:
        what: What is counted, for the words of the error.
        capacity: Most tokens, which is also where it begins.
        per_s: Tokens that each second brings.
    """

    __slots__ = ("_at", "_capacity", "_per_s", "_tokens", "_what")

    def __init__(self, what: str, capacity: float, per_s: float) -> None:
        self._what = what
        self._capacity = self._tokens = capacity
        self._per_s = per_s
        self._at = 0.0

    def earn(self, tokens: int) -> None:
        """Add tokens for useful traffic."""
        self._tokens += tokens

    def spend(self, now: float, tokens: int = 1) -> None:
        """Take tokens.

        Raises:
            ConnectionFault: There are not enough.
        """
        left = min(self._capacity, self._tokens + (now - self._at) * self._per_s) - tokens
        self._at = now
        self._tokens = left
        if left < 0:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, f"too many {self._what}")
