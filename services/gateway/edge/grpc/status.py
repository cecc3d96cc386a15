"""Answers as header blocks: how a response begins, how it ends, and how an error is said. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import quote

from services.core.errors import Overloaded, PenstockError, Unavailable, status_of
from services.gateway.edge.http2.header_block import encode
from services.gateway.edge.words import words_of

VERSION: Final = b"penstock-model-version"
ROLE: Final = b"penstock-role"
_STATUS = (b":status", b"200")
_CONTENT_TYPE = (b"content-type", b"application/grpc")
_OK = (b"grpc-status", b"0")
_ACCEPTED = (b"grpc-accept-encoding", b"identity,deflate,gzip")
_MS_PER_S = 1000
# gRPC sends words as metadata, of which clients take 8 KiB, each byte that is not printable ASCII as three.
_MAX_ENCODED_BYTES = 6 * 1024
_UNESCAPED = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

HEAD: Final = encode((_STATUS, _CONTENT_TYPE))
OK_TRAILERS: Final = encode((_OK,))
UNSUPPORTED_ENCODING: Final = (_ACCEPTED,)


@lru_cache(maxsize=64)
def compressed_head(encoding: bytes) -> bytes:
    """Return the header block of a response whose messages are compressed."""
    return encode((_STATUS, _CONTENT_TYPE, (b"grpc-encoding", encoding)))


@lru_cache(maxsize=1024)
def served_trailers(version: int, role: str) -> bytes:
    """Return the trailers of an answer, which say which version gave it."""
    return encode((_OK, (VERSION, str(version).encode()), (ROLE, role.encode())))


def error_trailers(error: PenstockError, *, begun: bool, extra: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """Return the header block that ends a call with an error; gRPC clients with a retry policy heed the push-back.

    Args:
        error: The error.
        begun: Whether the response has begun; otherwise this block is all of it.
        extra: More metadata.
    """
    return status_trailers(status_of(error).grpc, words_of(error), begun=begun, extra=(*_push_back(error), *extra))


def status_trailers(code: int, words: str, *, begun: bool, extra: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """Return the header block that ends a call with a status."""
    start = () if begun else (_STATUS, _CONTENT_TYPE)
    return encode((*start, (b"grpc-status", str(code).encode()), (b"grpc-message", _transportable(words)), *extra))


def http_refusal(status: int) -> bytes:
    """Return the header block of an answer to what is no gRPC request."""
    return encode(((b":status", str(status).encode()), (b"content-length", b"0")))


def _push_back(error: PenstockError) -> tuple[tuple[bytes, bytes], ...]:
    if isinstance(error, Overloaded | Unavailable):
        return ((b"grpc-retry-pushback-ms", str(round(error.retry_after_s * _MS_PER_S)).encode()),)
    return ()


def _transportable(words: str) -> bytes:
    quoted = quote(words, safe=_UNESCAPED, errors="replace")
    if len(quoted) > _MAX_ENCODED_BYTES:
        quoted = quote(words.encode("ascii", "replace").decode(), safe=_UNESCAPED)
    return quoted.encode()
