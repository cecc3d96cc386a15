"""Header lists to header blocks that need no dynamic table: the same bytes on every connection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hpack.table import HeaderTable

# Tells a client that the table for our blocks is empty, when it asked for a smaller one than the default.
EMPTY_TABLE: Final = b"\x20"
_STATIC = {entry: index for index, entry in reversed(list(enumerate(HeaderTable.STATIC_TABLE, 1)))}
_NAMES = {name: index for (name, _), index in _STATIC.items()}
_LITERAL_PREFIX = 15
_TEXT_PREFIX = 127


def encode(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a header block of indexed static fields and literals without indexing (RFC 7541, section 6)."""
    block = bytearray()
    for name, value in headers:
        index = _STATIC.get((name, value))
        if index is not None:
            block.append(0x80 | index)
            continue
        known = _NAMES.get(name)
        if known is not None:
            block += _integer(known, _LITERAL_PREFIX)
        else:
            block.append(0)
            block += _integer(len(name), _TEXT_PREFIX) + name
        block += _integer(len(value), _TEXT_PREFIX) + value
    return bytes(block)


def _integer(value: int, prefix: int) -> bytes:
    if value < prefix:
        return bytes((value,))
    coded = bytearray((prefix,))
    value -= prefix
    while value >= 0x80:  # noqa: PLR2004 - seven bits in each byte
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    coded.append(value)
    return bytes(coded)
