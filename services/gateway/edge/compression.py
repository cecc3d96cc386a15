"""Compressed requests and answers (``gzip``, ``deflate``), in slices and within bounds. Nothing else is decoded.

A few kilobytes inflate to gigabytes: both the size and the ratio are bounded while inflating, not afterwards.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence

from services.core.errors import InvalidRequest, PayloadTooLarge
from services.gateway.edge.paced import Slices
from services.gateway.limits import MIB, Limits

GZIP, DEFLATE = b"gzip", b"deflate"
# zlib's window bits: 16 more for gzip's header.
_WINDOW = {GZIP: 31, DEFLATE: 15}
_READ_BYTES = 64 * 1024
_WRITE_BYTES = 256 * 1024
_LEVEL = 1
# So much may be as dense as it likes: an empty image compresses a thousandfold.
_FREE_BYTES = 8 * MIB
_WEIGHT = re.compile(rb"[ \t]*;[ \t]*[qQ]=([01](?:\.[0-9]{0,3})?)[ \t]*")

Buffer = bytes | memoryview


def inflate(coding: bytes, body: Buffer, limits: Limits, hold: Callable[[int], None]) -> Slices[bytes]:
    """Undo the compression of a body.

    Args:
        coding: ``GZIP`` or ``DEFLATE`` (zlib's format, RFC 9110 section 8.4.1.2).
        body: What was sent.
        limits: Bounds on the size and the ratio.
        hold: Called with the size of each piece before it is kept; raises where there is no room.

    Raises:
        InvalidRequest: The body is not in this format, or it is cut off.
        PayloadTooLarge: It inflates to more than is taken.
    """
    most = min(limits.max_inflated_bytes, max(_FREE_BYTES, limits.max_inflation_ratio * len(body)))
    inflater = zlib.decompressobj(_WINDOW[coding])
    pieces: list[bytes] = []
    total = 0
    for start in range(0, len(body), _READ_BYTES):
        if inflater.eof:
            raise _malformed(coding, "bytes follow its end")
        data: Buffer = body[start : start + _READ_BYTES]
        while data:
            try:
                piece = inflater.decompress(data, _WRITE_BYTES)
            except zlib.error as error:
                raise _malformed(coding, str(error)) from error
            total += len(piece)
            if total > most:
                raise PayloadTooLarge(
                    f"the {len(body)} bytes of the {coding.decode()} body inflate to more than {most}, which is all "
                    f"that this gateway takes ({limits.max_inflated_bytes} in all, and at most "
                    f"{limits.max_inflation_ratio} times what was sent): send smaller batches"
                )
            hold(len(piece))
            pieces.append(piece)
            data = inflater.unconsumed_tail
            yield
    if not inflater.eof:
        raise _malformed(coding, "it ends too early")
    if inflater.unused_data:
        raise _malformed(coding, "bytes follow its end")
    return b"".join(pieces)


def compress(coding: bytes, parts: Sequence[Buffer]) -> Slices[bytes]:
    """Compress an answer."""
    deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW[coding])
    pieces = []
    for part in parts:
        for start in range(0, len(part), _WRITE_BYTES):
            pieces.append(deflater.compress(part[start : start + _WRITE_BYTES]))
            yield
    pieces.append(deflater.flush())
    return b"".join(pieces)


def preferred(accepted: bytes | None) -> bytes:
    """Return the coding that an ``Accept-Encoding`` likes best of those that are served; empty for none."""
    best, best_weight = b"", 0.0
    for option in (accepted or b"").lower().split(b","):
        name, mark, weight = option.strip().partition(b";")
        if name.strip() not in _WINDOW:
            continue
        found = _WEIGHT.fullmatch(mark + weight) if mark else None
        value = float(found[1]) if found else 0.0 if mark else 1.0
        if value > best_weight:
            best, best_weight = name.strip(), value
    return best


def _malformed(coding: bytes, why: str) -> InvalidRequest:
    return InvalidRequest(f"the body is no {coding.decode()} data, as Content-Encoding says it is: {why}")
