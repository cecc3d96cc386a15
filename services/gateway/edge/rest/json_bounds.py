"""How deep and how long a JSON text is, found before any object is made of it.

Sixty megabytes of ``[],[],`` are eight gigabytes of lists. Counting is exact (brackets and commas inside of strings do
not count), reads each byte a few times at the speed of memory, and goes in slices. A text that is too short to break a
bound is not looked at.
"""

from __future__ import annotations

import numpy as np

from services.core.errors import InvalidRequest
from services.gateway.edge.rest.paced import Slices
from services.gateway.limits import Limits

_SLICE_BYTES = 256 * 1024
_OPENING, _CLOSING, _QUOTE, _COMMA = b"[{", b"]}", b'"', b","
_ALL = bytes(range(256))
# What bytes.translate drops: all but brackets and quotes; the same without the commas.
_NO_STRUCTURE = bytes(set(_ALL) - set(_OPENING + _CLOSING + _QUOTE))
_NO_STRUCTURE_OR_COMMA = bytes(set(_NO_STRUCTURE) - set(_COMMA))
# An opening bracket becomes +1, a closing one -1.
_STEPS = bytes(1 if byte in _OPENING else 255 if byte in _CLOSING else 0 for byte in _ALL)

Buffer = bytes | memoryview


def check_json(text: Buffer, limits: Limits) -> Slices[None]:
    """Check a text against ``max_json_depth`` and ``max_json_values``; that it is JSON at all is for its parser to say.

    Raises:
        InvalidRequest: It is deeper or longer.
    """
    # No value takes less than two bytes, its comma or its brackets among them.
    count = len(text) // 2 + 1 > limits.max_json_values
    if not count and len(text) <= _SLICE_BYTES:
        whole = bytes(text)
        if whole.count(b"[") + whole.count(b"{") <= limits.max_json_depth:
            return
    scan = _Scan(limits, count=count)
    position, end = 0, len(text)
    while position < end:
        piece = bytes(text[position : position + _SLICE_BYTES])
        position += len(piece)
        if _ends_in_escape(piece) and position < end:
            piece += bytes(text[position : position + 1])
            position += 1
        scan.feed(piece)
        yield


class _Scan:
    """The state between two slices."""

    __slots__ = ("_commas", "_count", "_depth", "_in_string", "_limits", "_values")

    def __init__(self, limits: Limits, *, count: bool) -> None:
        self._limits = limits
        self._count = count
        self._depth = 0
        self._values = 1
        self._in_string = False

    def feed(self, piece: bytes) -> None:
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        kept = piece.translate(None, _NO_STRUCTURE_OR_COMMA if self._count else _NO_STRUCTURE)
        if self._in_string or _QUOTE in kept:
            parts = kept.split(_QUOTE)
            kept = b"".join(parts[1 if self._in_string else 0 :: 2])
            self._in_string ^= len(parts) % 2 == 0
        if kept:
            self._measure(kept)

    def _measure(self, structure: bytes) -> None:
        depths = np.cumsum(np.frombuffer(structure.translate(_STEPS), np.int8), dtype=np.int64)
        deepest = self._depth + int(depths.max())
        self._depth += int(depths[-1])
        if deepest > self._limits.max_json_depth:
            raise InvalidRequest(
                f"the request's JSON is nested deeper than {self._limits.max_json_depth} levels; send flat lists"
            )
        if self._count:
            self._values += structure.count(_COMMA) + structure.count(b"[") + structure.count(b"{")
            if self._values > self._limits.max_json_values:
                raise InvalidRequest(
                    f"the request's JSON has more than {self._limits.max_json_values} values; send smaller batches, or "
                    "binary tensors"
                )


def _ends_in_escape(piece: bytes) -> bool:
    return (len(piece) - len(piece.rstrip(b"\\"))) % 2 == 1
