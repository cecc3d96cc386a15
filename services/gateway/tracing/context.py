"""W3C trace context: which trace a request belongs to. Pure; https://www.w3.org/TR/trace-context/."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?", re.DOTALL
)
# Where its parts are; a later version may append to them.
_TRACE, _SPAN, _FLAGS = slice(3, 35), slice(36, 52), slice(53, 55)
_LENGTH = 55
_UNSAMPLED = "02468ace"  # the last digit of flags without the sampled one
_SAMPLED = 1
_MAX_TRACESTATE = 512
_TRACE_BITS, _SPAN_BITS = 128, 64


@dataclass(frozen=True, slots=True)
class Parent:
    """What a caller said of its trace.

    Attributes:
        trace_id: The trace.
        span_id: The caller's span.
        sampled: Whether the caller records it.
    """

    trace_id: int
    span_id: int
    sampled: bool


def parse(traceparent: str) -> Parent | None:
    """Read a ``traceparent``; None for one that is malformed, which counts as none at all."""
    if not _TRACEPARENT.fullmatch(traceparent) or (len(traceparent) > _LENGTH and traceparent.startswith("00")):
        return None
    return Parent(int(traceparent[_TRACE], 16), int(traceparent[_SPAN], 16), _is_sampled(traceparent))


def _is_sampled(traceparent: str) -> bool:
    return bool(int(traceparent[_FLAGS], 16) & _SAMPLED)


def joined_tracestate(before: str, value: bytes) -> str:
    """Return a ``tracestate`` with one more header's worth; without it where it is longer than vendors must keep."""
    text = value.decode("latin-1").strip()
    both = f"{before},{text}" if before else text
    return both if len(both) <= _MAX_TRACESTATE else before


def trace_id_text(traceparent: str) -> str:
    """Return the trace's id of a ``traceparent``, sampled or not; empty where there is none."""
    found = parse(traceparent) if traceparent else None
    return f"{found.trace_id:032x}" if found is not None else ""


@dataclass(slots=True)
class RequestTrace:
    """The place of one sampled request in its trace.

    Attributes:
        trace_id: The trace.
        parent_id: The caller's span; 0 when the trace begins here.
        tracestate: The caller's ``tracestate``, as it came.
        server_id: The span of the request in the gateway.
        forward_id: The span of its way to Triton, which Triton's own spans belong to.
    """

    trace_id: int
    parent_id: int
    tracestate: str
    server_id: int
    forward_id: int

    @property
    def upstream_traceparent(self) -> str:
        """What Triton is told."""
        return f"00-{self.trace_id:032x}-{self.forward_id:016x}-01"


class Sampler:
    """Decides which requests are traced: as their caller decided, and of those without a trace a share.

    Args:
        ratio: That share, 0 to 1.
        chance: Where ids and decisions come from.
    """

    __slots__ = ("_chance", "_ratio")

    def __init__(self, ratio: float, chance: random.Random | None = None) -> None:
        self._ratio = ratio
        self._chance = chance or random.Random()  # noqa: S311 - ids need to be different, not secret

    def begin(self, traceparent: str, tracestate: str = "") -> RequestTrace | None:
        """Return the place of a request in its trace, or None when it is not traced.

        Args:
            traceparent: The caller's; empty for none.
            tracestate: The caller's; without a valid ``traceparent`` it is ignored.
        """
        if traceparent:
            if not self._ratio and len(traceparent) == _LENGTH and traceparent[-1] in _UNSAMPLED:
                return None  # the same whether it is well-formed or not: most requests of a traced client end here
            parent = parse(traceparent)
            if parent is not None:
                return self._of(parent.trace_id, parent.span_id, tracestate) if parent.sampled else None
        if self._ratio and self._chance.random() < self._ratio:
            return self._of(self._id(_TRACE_BITS), 0, "")
        return None

    def _of(self, trace_id: int, parent_id: int, tracestate: str) -> RequestTrace:
        return RequestTrace(trace_id, parent_id, tracestate, self._id(_SPAN_BITS), self._id(_SPAN_BITS))

    def _id(self, bits: int) -> int:
        return self._chance.getrandbits(bits) or 1
