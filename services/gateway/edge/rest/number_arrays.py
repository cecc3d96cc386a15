"""Large arrays of numbers in a JSON text, taken out of it before the rest is parsed, and read slice by slice.

A parser makes an object of every number and returns when the last one is made; meanwhile nobody else is served. The
arrays that matter, ``"data": [...]``, hold nothing but numbers and brackets, so they can be cut at any comma.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from services.gateway.edge.paced import Slices

_KEY = b'"data"'
_BEGIN = re.compile(rb'"data"[ \t\r\n]*+:[ \t\r\n]*+\[')
_OPENING, _CLOSING = b"["[0], b"]"[0]
_SCAN_BYTES = 256 * 1024
# A request has an array for each input; whoever sends more has no need of speed.
_MOST_ARRAYS = 512
READ_BYTES = 64 * 1024
# Nesting says nothing beyond the order of the elements: without it the text is one list.
_FLAT = bytes.maketrans(b"[]", b"  ")


class NotSliceableError(Exception):
    """The array is not what it seemed, or no JSON: the parser has to see the whole text."""


class NumberArray:
    """The text of one array, between its outer brackets.

    Args:
        text: The whole text.
        begin: Where the array's content begins.
        end: Where it ends.
    """

    __slots__ = ("_begin", "_end", "_text")

    def __init__(self, text: bytes, begin: int, end: int) -> None:
        self._text = text
        self._begin = begin
        self._end = end

    def slices(self, size: int = READ_BYTES) -> Iterator[list[Any]]:
        """Return the elements in order, those in about ``size`` bytes of text at a time.

        Raises:
            NotSliceableError: See there.
        """
        position, end = self._begin, self._end
        whole = end - position <= size
        while position <= end:
            cut = end
            if end - position > size:
                # A number that is longer than a slice is an odd one, but it is one.
                cut = self._text.rfind(b",", position, position + size)
                cut = cut if cut >= 0 else self._text.find(b",", position, end)
                cut = cut if cut >= 0 else end
            values = _numbers(self._text[position:cut])
            if not values and not whole:
                raise NotSliceableError  # a comma with nothing before or behind it
            yield values
            position = cut + 1


def taken_out(text: bytes, least_bytes: int = READ_BYTES) -> Slices[tuple[bytes, dict[str, NumberArray]]]:
    """Return the text with a name in place of each array of numbers, and the arrays by name.

    The names are random: a client cannot write one.

    Args:
        text: JSON, or what claims to be.
        least_bytes: Arrays with less text stay where they are.
    """
    arrays: dict[str, NumberArray] = {}
    parts: list[bytes] = []
    kept = position = looked = 0
    while looked < _MOST_ARRAYS and (position := text.find(_KEY, position)) >= 0:
        looked += 1
        opening = _BEGIN.match(text, position)
        if opening is None:
            position += len(_KEY)
            continue
        position = opening.end()
        end = yield from _end_of(text, position - 1)
        if end - position > least_bytes:
            name = secrets.token_hex(16)
            arrays[name] = NumberArray(text, position, end - 1)
            parts += (text[kept : position - 1], b'"%s"' % name.encode())
            kept = position = end
    return b"".join([*parts, text[kept:]]), arrays


def _end_of(text: bytes, begin: int) -> Slices[int]:
    """Return where the array that begins here has ended; -1 where it holds texts or objects, or does not end.

    What is looked at ends at the next quotation mark, so all arrays of a text together cost one reading of it.
    """
    depth, position = 0, begin
    while position < len(text):
        quote = text.find(b'"', position, position + _SCAN_BYTES)
        piece = text[position : position + _SCAN_BYTES if quote < 0 else quote]
        codes = np.frombuffer(piece, np.uint8)
        places = np.flatnonzero((codes == _OPENING) | (codes == _CLOSING))
        if places.size:
            depths = depth + np.cumsum(np.where(codes[places] == _OPENING, 1, -1))
            closed = np.flatnonzero(depths == 0)
            if closed.size:
                end = int(places[closed[0]]) + 1
                return -1 if b"{" in piece[:end] else position + end
            depth = int(depths[-1])
        if quote >= 0 or b"{" in piece:
            return -1
        position += len(piece)
        yield
    return -1


def _numbers(text: bytes) -> list[Any]:
    flat = b"[" + text.translate(_FLAT) + b"]"
    try:
        values: list[Any] = orjson.loads(flat)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in flat and b"Infinity" not in flat:
            raise NotSliceableError from error
        try:
            values = json.loads(flat)
        except ValueError as still:
            raise NotSliceableError from still
    return values
