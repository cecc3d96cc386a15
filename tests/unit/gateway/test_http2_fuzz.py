"""Whatever bytes come, in whatever pieces: the same outcome, and never an exception out of the core."""

from __future__ import annotations

import struct

import hpack
import pytest
from hpack.exceptions import HPACKError
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.edge.http2 import frames
from services.gateway.edge.http2.bounds import Bounds
from services.gateway.edge.http2.faults import ConnectionFault
from services.gateway.edge.http2.frames import DATA, END_STREAM, HEADERS
from services.gateway.edge.http2.header_block import encode
from services.gateway.edge.http2.hpack_reader import HpackReader
from tests.fakes.http2 import HELLO, REQUEST, Peer, frame, headers, literal

BOUNDS = Bounds(max_streams=4, max_header_bytes=2000, stream_window=70_000, connection_window=90_000, idle_frames=60)


def _frames() -> st.SearchStrategy[bytes]:
    """Return frames that are mostly right: valid types on a few streams, with payloads of the right length or not."""
    streams = st.sampled_from([0, 1, 1, 3, 3, 5, 7, 2, 1 << 30])
    number = st.integers(0, (1 << 32) - 1)
    exact = st.one_of(
        st.builds(lambda s, end: headers(s, end=end), streams, st.booleans()),
        st.builds(
            lambda s, end, b: frame(DATA, END_STREAM * end, s, b), streams, st.booleans(), st.binary(max_size=40)
        ),
        st.builds(lambda s, n: frame(frames.WINDOW_UPDATE, 0, s, struct.pack(">I", n)), streams, number),
        st.builds(lambda s, n: frame(frames.RST_STREAM, 0, s, struct.pack(">I", n)), streams, number),
        st.builds(lambda n: frames.settings([(n % 8, n >> 8)]), number),
        st.builds(lambda b, ack: frames.ping(b, ack=ack), st.binary(min_size=8, max_size=8), st.booleans()),
        st.builds(lambda s, b: frame(HEADERS, 4, s, b), streams, st.binary(max_size=30)),
        st.builds(lambda s: frame(HEADERS, 0, s, literal(REQUEST)) + frame(frames.CONTINUATION, 4, s), streams),
    )
    anything = st.builds(frame, st.integers(0, 11), st.integers(0, 255), streams, st.binary(max_size=40))
    return st.one_of(exact, exact, exact, anything)


def _mutated(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for at, value in changes:
        if changed:
            changed[at % len(changed)] = value
    return bytes(changed)


streams_of_bytes = st.one_of(
    st.lists(_frames(), max_size=25).map(lambda parts: HELLO + b"".join(parts)),
    st.builds(
        lambda parts, changes: HELLO + _mutated(b"".join(parts), changes),
        st.lists(_frames(), max_size=25),
        st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=4),
    ),
    st.binary(max_size=300),
    st.binary(max_size=300).map(lambda data: HELLO + data),
)


def _outcome(peer: Peer) -> object:
    told = {number: (one.stream.head, one.body, one.ended, one.left) for number, one in peer.application.begun.items()}
    fault = peer.connection.fault
    return told, (fault.code, fault.words) if fault else None, peer.connection.over, sorted(peer.connection.streams)


@settings(max_examples=400)
@given(streams_of_bytes, st.lists(st.integers(1, 60), min_size=1, max_size=60))
def test_any_bytes_in_any_pieces_have_the_same_outcome_and_raise_nothing(data: bytes, cuts: list[int]) -> None:
    whole, pieces = Peer(bounds=BOUNDS), Peer(bounds=BOUNDS)
    whole.connection.receive(data, 1.0)
    at, turn = 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        pieces.connection.receive(data[at : at + size], 1.0)
        at, turn = at + size, turn + 1
    assert _outcome(pieces) == _outcome(whole)
    whole.connection.lost()
    for recorder in whole.application.begun.values():
        assert recorder.ended + recorder.left >= 1
        assert recorder.ended <= 1
        assert recorder.left <= 1
    assert not whole.connection.streams
    assert whole.done == 1


@settings(max_examples=300)
@given(
    st.lists(
        st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=30), st.booleans()), max_size=6), max_size=8
    ),
    st.lists(st.sampled_from([0, 40, 100, 4096]), max_size=3),
)
def test_header_blocks_decode_as_the_reference_decoder_does_also_when_they_repeat(
    lists: list[list[tuple[bytes, bytes, bool]]], sizes: list[int]
) -> None:
    encoder, reference = hpack.Encoder(), hpack.Decoder()
    reader = HpackReader(list, 1 << 20)
    for number, fields in enumerate(lists):
        if number < len(sizes):
            encoder.header_table_size = sizes[number]
        named = [(b"x" + name, value, secret) for name, value, secret in fields]
        block = encoder.encode(named, huffman=number % 2 == 0)
        expected = [(bytes(name), bytes(value)) for name, value in reference.decode(block, raw=True)]
        assert reader.read(block) == expected
        again = encoder.encode(named, huffman=number % 2 == 0)
        expected = [(bytes(name), bytes(value)) for name, value in reference.decode(again, raw=True)]
        assert reader.read(again) == expected


@settings(max_examples=1000)
@given(st.lists(st.binary(max_size=40), max_size=6))
def test_damaged_header_blocks_are_refused_where_the_reference_decoder_refuses_them(blocks: list[bytes]) -> None:
    reference, reader = hpack.Decoder(), HpackReader(list, 1 << 20)
    for block in blocks:
        try:
            expected = [(bytes(name), bytes(value)) for name, value in reference.decode(block, raw=True)]
        except (HPACKError, IndexError):
            with pytest.raises(ConnectionFault):
                reader.read(block)
            return
        try:
            found = reader.read(block)
        except ConnectionFault:
            return  # stricter: integers and table size updates have bounds here
        assert found == expected


@given(st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=300)), max_size=8))
def test_our_header_blocks_decode_to_what_they_were_made_of_and_change_no_table(
    fields: list[tuple[bytes, bytes]],
) -> None:
    decoder = hpack.Decoder()
    block = encode(fields)
    assert [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)] == fields
    assert not decoder.header_table.dynamic_entries
