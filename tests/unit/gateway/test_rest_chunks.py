"""Bodies in chunks: the same however the network cuts them, and bounded in everything."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core.errors import PayloadTooLarge, PenstockError
from services.gateway.edge.rest.chunks import FULL_CHUNK_BYTES, ChunkDecoder
from services.gateway.edge.rest.refusal import HttpRefusal
from services.gateway.limits import Limits


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _feed(decoder: ChunkDecoder, wire: bytes, cuts: list[int]) -> bytes:
    body, start, over = b"", 0, 0
    for cut in [*sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]:
        if cut > start and not decoder.complete:
            body += b"".join(decoder.feed(wire[start:cut]))
            over = cut
        start = max(start, cut)
    decoder.rest += wire[over:]
    return body


@settings(max_examples=300)
@given(
    pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    cuts=st.lists(st.integers(0, 400), max_size=12),
    trailers=st.sampled_from([b"", b"X: y\r\n", b"A: 1\r\nB: 2\r\n"]),
    extension=st.sampled_from([b"", b";a=b", b' ; name="value"']),
    rest=st.binary(max_size=20),
)
def test_a_body_is_the_same_however_it_is_cut(
    pieces: list[bytes], cuts: list[int], trailers: bytes, extension: bytes, rest: bytes
) -> None:
    wire = b"".join(_chunk(piece).replace(b"\r\n", extension + b"\r\n", 1) for piece in pieces)
    decoder = ChunkDecoder(Limits())
    body = _feed(decoder, wire + b"0\r\n" + trailers + b"\r\n" + rest, cuts)
    assert decoder.complete
    assert (body, decoder.rest) == (b"".join(pieces), rest)


@pytest.mark.parametrize(
    "wire",
    [
        b"x\r\n",
        b"\r\n",
        b"-1\r\n",
        b"+1\r\na\r\n",
        b"0x1\r\na\r\n",
        b"1 2\r\na\r\n",
        b" 1\r\na\r\n",
        b"1\na\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\na\rb",
        b"ffffffffffffffffff\r\n",
        b"1;" + b"x" * 300,
        b"1;\x00\r\na\r\n",
        b"0\r\nno trailer\r\n\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\nX: y\n\r\n",
    ],
)
def test_what_is_no_chunked_body_is_refused_at_once(wire: bytes) -> None:
    for cuts in ([], list(range(len(wire)))):
        decoder = ChunkDecoder(Limits())
        with pytest.raises(HttpRefusal):
            _feed(decoder, wire, cuts)


def test_small_chunks_are_counted_and_full_ones_are_not() -> None:
    decoder = ChunkDecoder(Limits(max_chunks=10))
    for _ in range(20):
        decoder.feed(_chunk(b"x" * FULL_CHUNK_BYTES))
    for _ in range(10):
        decoder.feed(_chunk(b"x"))
    with pytest.raises(HttpRefusal, match="more than 10 chunks"):
        decoder.feed(b"1\r\n")


def test_a_size_over_the_limit_is_refused_before_its_data_comes() -> None:
    decoder = ChunkDecoder(Limits(max_body_bytes=1024))
    decoder.feed(_chunk(b"x" * 1024))
    with pytest.raises(PayloadTooLarge):
        decoder.feed(b"1\r\n")
    with pytest.raises(PayloadTooLarge):
        ChunkDecoder(Limits(max_body_bytes=1024)).feed(b"ffffffffffffffff\r\n")


def test_trailers_are_counted() -> None:
    decoder = ChunkDecoder(Limits(max_headers=3))
    with pytest.raises(PenstockError) as refused:
        decoder.feed(b"0\r\n" + b"X: y\r\n" * 4)
    assert isinstance(refused.value, HttpRefusal)
    assert refused.value.status == 431
