"""Header blocks to header lists (RFC 7541), with a memory of blocks that came before. No I/O.

A client repeats its header blocks, and a block that leaves the dynamic table as it is says the same thing every time
until some other block changes the table. So the outcome of such a block is kept until then, and a repeated block costs
one look into a dictionary. The tables and the Huffman code are those of the ``hpack`` package; its decoder is not used,
because it has no bounds on the length of integers and on table size updates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from hpack.exceptions import HPACKDecodingError, HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from services.gateway.edge.http2.faults import Code, ConnectionFault

Header = tuple[bytes, bytes]
Outcome = TypeVar("Outcome")

_ENTRY_OVERHEAD_BYTES = 32
_MOST_TABLE_BYTES = 4096
_MOST_SIZE_UPDATES = 2
_MOST_INTEGER_SHIFT = 21  # four bytes after the prefix: far beyond any length that is taken
_MOST_REMEMBERED = 64
_MOST_REMEMBERED_BYTES = 2048


class HpackReader(Generic[Outcome]):
    """The decoding side of one connection's header compression.

    Args:
        understand: Makes of a header list what the owner wants to know; must depend on nothing else.
        max_list_bytes: Longest header list, counted as RFC 9113 does (32 bytes more for each field). Beyond it the
            connection is ended, because the state of its compression is lost.
    """

    __slots__ = ("_max_list_bytes", "_mutated", "_outcomes", "_table", "_understand")

    def __init__(self, understand: Callable[[list[Header]], Outcome], max_list_bytes: int) -> None:
        self._understand = understand
        self._max_list_bytes = max_list_bytes
        self._table = HeaderTable()
        self._outcomes: dict[bytes, Outcome] = {}
        self._mutated = False

    def read(self, block: bytes) -> Outcome:
        """Return what a header block says.

        Raises:
            ConnectionFault: It cannot be decoded, or is too long.
        """
        found = self._outcomes.get(block)
        if found is not None:
            return found
        self._mutated = False
        try:
            headers = self._decode(block)
        except (HPACKError, IndexError) as error:
            raise ConnectionFault(
                Code.COMPRESSION_ERROR, f"a header block that HPACK cannot decode: {error}"
            ) from error
        outcome = self._understand(headers)
        if self._mutated:
            self._outcomes.clear()
        elif len(block) <= _MOST_REMEMBERED_BYTES:
            if len(self._outcomes) >= _MOST_REMEMBERED:
                self._outcomes.clear()
            self._outcomes[block] = outcome
        return outcome

    def _decode(self, block: bytes) -> list[Header]:
        headers: list[Header] = []
        table = self._table
        at, end, size, updates = 0, len(block), 0, 0
        while at < end:
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 0x7F)
                header = table.get_by_index(index)
            elif first & 0x40:
                name, value, at = self._literal(block, at, 0x3F)
                header = (name, value)
                table.add(name, value)
                self._mutated = True
            elif first & 0x20:
                limit, at = _integer(block, at, 0x1F)
                updates += 1
                if headers or updates > _MOST_SIZE_UPDATES or limit > _MOST_TABLE_BYTES:
                    raise HPACKDecodingError(f"a table size update to {limit} that is not allowed here")
                table.maxsize = limit
                self._mutated = True
                continue
            else:
                name, value, at = self._literal(block, at, 0x0F)
                header = (name, value)
            size += len(header[0]) + len(header[1]) + _ENTRY_OVERHEAD_BYTES
            if size > self._max_list_bytes:
                raise ConnectionFault(
                    Code.ENHANCE_YOUR_CALM, f"a header list of more than {self._max_list_bytes} bytes"
                )
            headers.append(header)
        return headers

    def _literal(self, block: bytes, at: int, mask: int) -> tuple[bytes, bytes, int]:
        index, at = _integer(block, at, mask)
        if index:
            name = self._table.get_by_index(index)[0]
        else:
            name, at = _text(block, at)
        value, at = _text(block, at)
        return name, value, at


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """Return the integer whose prefix is in the bits of ``mask``, and where it ends (RFC 7541, section 5.1)."""
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that another byte follows
            return value, at
        shift += 7
        if shift > _MOST_INTEGER_SHIFT:
            raise HPACKDecodingError("an integer of more than four bytes")


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    coded = block[at] & 0x80
    length, at = _integer(block, at, 0x7F)
    end = at + length
    text = block[at:end]
    if len(text) != length:
        raise HPACKDecodingError(f"a text of {length} bytes, of which {len(text)} are there")
    return (decode_huffman(text) if coded else text), end
