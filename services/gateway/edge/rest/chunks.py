"""A body in chunks (RFC 9112, section 7.1), bounded in everything that it can be made of. Pure: bytes in, bytes out."""

from __future__ import annotations

import re

from services.core.errors import PayloadTooLarge
from services.gateway.edge.rest.refusal import BAD_REQUEST, HEADERS_TOO_LARGE, HttpRefusal, shown
from services.gateway.limits import Limits

FULL_CHUNK_BYTES = 16 * 1024
_LONGEST_LINE = 256
# Size in hexadecimal; an extension is read over, as the RFC asks.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")


class ChunkDecoder:
    """Undoes the chunked coding of one body.

    Attributes:
        complete: Whether the body and its trailers are over.
        rest: What came after them, once it is complete.
        size: Bytes of the body that were announced so far.

    Args:
        limits: Bounds on the body, on the number of small chunks and on the trailers.
    """

    __slots__ = ("_chunks", "_left", "_limits", "_line", "_trailers", "_trailing", "complete", "rest", "size")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._line = b""  # an incomplete line
        self._left = 0  # bytes of the present chunk that are to come, its CR LF included
        self.size = 0
        self._chunks = 0
        self._trailing = False
        self._trailers = 0
        self.complete = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take what came and return the pieces of the body in it.

        Raises:
            HttpRefusal: It is no chunked body, or one of too many small chunks.
            PayloadTooLarge: The body is over the limit.
        """
        if self._line:
            data = self._line + data
            self._line = b""
        pieces: list[bytes] = []
        position, end = 0, len(data)
        while position < end:
            if self._left:
                position = self._take(data, position, pieces)
                continue
            line_end = data.find(b"\n", position, position + _LONGEST_LINE)
            if line_end < 0:
                if end - position >= _LONGEST_LINE:
                    raise HttpRefusal(BAD_REQUEST, f"a line of the chunked body is over {_LONGEST_LINE} bytes long")
                self._line = data[position:]
                break
            if line_end == position or data[line_end - 1] != 13:  # noqa: PLR2004 - CR
                raise HttpRefusal(BAD_REQUEST, "a line of the chunked body ends without CR LF")
            line = data[position : line_end - 1]
            position = line_end + 1
            if self._trailing:
                if self._trailer(line):
                    self.complete = True
                    self.rest = data[position:]
                    break
            else:
                self._begin(line)
        return pieces

    def _take(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        """Take bytes of the present chunk and of the CR LF behind it."""
        body = self._left - 2
        if body > 0:
            piece = data[position : position + body]
            pieces.append(piece)
            self._left -= len(piece)
            return position + len(piece)
        expected = b"\r\n"[-self._left :]
        found = data[position : position + self._left]
        if not expected.startswith(found):
            raise HttpRefusal(BAD_REQUEST, "a chunk is longer than its size says; expected CR LF at its end")
        self._left -= len(found)
        return position + len(found)

    def _begin(self, line: bytes) -> None:
        """Read the line that opens a chunk."""
        found = _SIZE.fullmatch(line)
        if found is None:
            raise HttpRefusal(BAD_REQUEST, f"'{shown(line)}' is no size of a chunk in hexadecimal")
        size = int(found[1], 16)
        self.size += size
        limits = self._limits
        if self.size > limits.max_body_bytes:
            raise PayloadTooLarge(
                f"the request's body has more than {limits.max_body_bytes} bytes, which is all that this gateway "
                "takes: send smaller batches, or binary tensors instead of JSON"
            )
        if size == 0:
            self._trailing = True
            return
        self._left = size + 2
        if size < FULL_CHUNK_BYTES:
            self._chunks += 1
            if self._chunks > limits.max_chunks:
                raise HttpRefusal(
                    BAD_REQUEST,
                    f"the request's body comes in more than {limits.max_chunks} chunks of less than "
                    f"{FULL_CHUNK_BYTES} bytes; send larger ones",
                )

    def _trailer(self, line: bytes) -> bool:
        """Read over a trailer; True at the empty line that ends them."""
        if not line:
            return True
        self._trailers += 1
        if self._trailers > self._limits.max_headers:
            raise HttpRefusal(HEADERS_TOO_LARGE, f"the request has more than {self._limits.max_headers} trailers")
        if not _TRAILER.fullmatch(line):
            raise HttpRefusal(BAD_REQUEST, "a trailer of the chunked body is no HTTP/1.1 header")
        return False
