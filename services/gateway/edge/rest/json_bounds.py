"""How deep and how long a JSON text is, found before any object is made of it.

Sixty megabytes of ``[],[],`` are eight gigabytes of lists. Counting is exact (brackets and commas inside of strings do
not count), reads each byte a few times at the speed of memory, and goes in slices. A text that is too short to break a
bound is not looked at.
"""

from __future__ import annotations

import numpy as np

from services.core.errors import InvalidRequest
from services.gateway.edge.paced import Slices
from services.gateway.limits import Limits

_SLICE_BYTES = 256 * 1024
_OPENING, _CLOSING, _QUOTE, _COMMA, _COLON = b"[{", b"]}", b'"', b",", b":"
# A request has a few keys and objects for each of its tensors and parameters.
MOST_KEYS = 64 * 1024
_ALL = bytes(range(256))
# What bytes.translate drops: all but brackets, quotes and colons; the same without the commas.
_NO_STRUCTURE = bytes(set(_ALL) - set(_OPENING + _CLOSING + _QUOTE + _COLON))
_NO_STRUCTURE_OR_COMMA = bytes(set(_NO_STRUCTURE) - set(_COMMA))
# An opening bracket becomes +1, a closing one -1.
_STEPS = bytes(1 if byte in _OPENING else 255 if byte in _CLOSING else 0 for byte in _ALL)

Buffer = bytes | memoryview


def check_json(text: Buffer, limits: Limits) -> Slices[None]:
    """Check depth and numbers of values, texts and keys of a text; that it is JSON at all is for its parser to say.

    Raises:
        InvalidRequest: It is deeper or longer.
    """
    # No value takes less than two bytes, its comma or its brackets among them.
    count = len(text) // 2 + 1 > limits.max_json_values
    if not count and len(text) <= _SLICE_BYTES:
        whole = bytes(text)
        if whole.count(b"[") + whole.count(b"{") <= limits.max_json_depth:
            return
    scan = Scan(limits, count=count)
    position = 0
    while position < len(text):
        piece = next_slice(text, position, _SLICE_BYTES)
        position += len(piece)
        scan.feed(piece)
        yield


def next_slice(text: Buffer, position: int, size: int) -> bytes:
    """Return a slice that does not end between a backslash and what it escapes."""
    piece = bytes(text[position : position + size])
    if piece.endswith(b"\\") and (len(piece) - len(piece.rstrip(b"\\"))) % 2:
        piece += bytes(text[position + size : position + size + 1])
    return piece


class Scan:
    """What is known of a text so far.

    Attributes:
        deepest: The deepest nesting.
        values: Commas and opening brackets, and one: at least as many as there are values.
        texts: Texts, keys among them.
        keys: Keys, or objects where there are more.

    Args:
        limits: Bounds.
        count: Whether values are counted at all.
    """

    __slots__ = ("_count", "_depth", "_in_string", "_limits", "_unquoted", "deepest", "keys", "texts", "values")

    def __init__(self, limits: Limits, *, count: bool) -> None:
        self._limits = limits
        self._count = count
        self._depth = 0
        self._in_string = False
        self._unquoted = 0  # bytes of a text that is not over yet, in whole slices
        self.deepest = 0
        self.values = 1
        self.texts = 0
        self.keys = 0

    def feed(self, piece: bytes) -> None:
        """Look at the next slice.

        Raises:
            InvalidRequest: A bound is broken.
        """
        if self._in_string and _QUOTE not in piece:
            self._unquoted += len(piece)
            if self._unquoted > self._limits.max_string_bytes:
                raise InvalidRequest(
                    f"the request's JSON has a text of more than {self._limits.max_string_bytes} bytes; send it as "
                    "binary data"
                )
            return
        self._unquoted = 0
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        kept = piece.translate(None, _NO_STRUCTURE_OR_COMMA if self._count else _NO_STRUCTURE)
        if self._in_string or _QUOTE in kept:
            parts = kept.split(_QUOTE)
            self._count_texts(len(parts) - 1)
            kept = b"".join(parts[1 if self._in_string else 0 :: 2])
            self._in_string ^= len(parts) % 2 == 0
        if kept:
            self._measure(kept)

    def _count_texts(self, quotes: int) -> None:
        self.texts += (quotes + 1) // 2 if not self._in_string else quotes // 2
        if self.texts > self._limits.max_strings + 2 * MOST_KEYS:
            raise InvalidRequest(
                f"the request's JSON has more than {self._limits.max_strings} texts; send smaller batches, or binary "
                "tensors"
            )

    def _measure(self, structure: bytes) -> None:
        depths = np.cumsum(np.frombuffer(structure.translate(_STEPS), np.int8), dtype=np.int64)
        self.deepest = max(self.deepest, self._depth + int(depths.max()))
        self._depth += int(depths[-1])
        if self.deepest > self._limits.max_json_depth:
            raise InvalidRequest(
                f"the request's JSON is nested deeper than {self._limits.max_json_depth} levels; send flat lists"
            )
        self.keys += max(structure.count(_COLON), structure.count(b"{"))
        if self.keys > MOST_KEYS:
            raise InvalidRequest(f"the request's JSON has more than {MOST_KEYS} keys or objects; send fewer at once")
        if self._count:
            self.values += structure.count(_COMMA) + structure.count(b"[") + structure.count(b"{")
            if self.values > self._limits.max_json_values:
                raise InvalidRequest(
                    f"the request's JSON has more than {self._limits.max_json_values} values; send smaller batches, or "
                    "binary tensors"
                )
