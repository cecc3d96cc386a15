"""The HTTP/2 core against RFC 9113: what is answered, what ends a stream and what ends a connection."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from services.gateway.edge.http2 import frames
from services.gateway.edge.http2.bounds import Bounds
from services.gateway.edge.http2.faults import Code
from services.gateway.edge.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from tests.fakes.http2 import (
    HELLO,
    REQUEST,
    Peer,
    RecordingApplication,
    frame,
    goaway_code,
    headers,
    literal,
    reset_code,
)


def _setting(name: int, value: int) -> bytes:
    return frames.settings([(name, value)])


def _one(value: int) -> bytes:
    return struct.pack(">I", value)


def _block(fields: list[tuple[bytes, bytes]]) -> bytes:
    return literal(fields)


OPEN = headers(1)
WHOLE = headers(1, end=True)
# Each: what the client sends after its preface and an empty SETTINGS frame, and the code of the GOAWAY that ends it.
CONNECTION_FAULTS: list[tuple[str, bytes, Code]] = [
    ("DATA on stream 0", frame(DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR),
    ("DATA on an idle stream", frame(DATA, 0, 1, b"x"), Code.PROTOCOL_ERROR),
    ("DATA on a stream of the server", OPEN + frame(DATA, 0, 2, b"x"), Code.PROTOCOL_ERROR),
    ("DATA on a stream that has ended", WHOLE + frame(DATA, 0, 1, b"x"), Code.STREAM_CLOSED),
    ("more padding than frame", OPEN + frame(DATA, PADDED, 1, b"\x05abcd"), Code.PROTOCOL_ERROR),
    ("a padded frame of nothing", OPEN + frame(DATA, PADDED, 1, b""), Code.PROTOCOL_ERROR),
    ("HEADERS on stream 0", frame(HEADERS, END_HEADERS, 0, _block(REQUEST)), Code.PROTOCOL_ERROR),
    ("HEADERS on an even stream", frame(HEADERS, END_HEADERS, 2, _block(REQUEST)), Code.PROTOCOL_ERROR),
    ("HEADERS on a stream that has ended", WHOLE + headers(1, end=True), Code.STREAM_CLOSED),
    ("a stream below an earlier one", headers(5, end=True) + headers(3, end=True), Code.PROTOCOL_ERROR),
    ("more padding than HEADERS", frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff\x82"), Code.PROTOCOL_ERROR),
    ("HEADERS without its padding length", frame(HEADERS, END_HEADERS | PADDED, 1, b""), Code.FRAME_SIZE_ERROR),
    ("HEADERS without all its priority", frame(HEADERS, END_HEADERS | PRIORITIZED, 1, b"\0\0"), Code.FRAME_SIZE_ERROR),
    (
        "HEADERS that depend on themselves",
        frame(HEADERS, END_HEADERS | PRIORITIZED, 1, _one(1) + b"\x10" + _block(REQUEST)),
        Code.PROTOCOL_ERROR,
    ),
    ("an index of nothing", frame(HEADERS, END_HEADERS, 1, b"\x80"), Code.COMPRESSION_ERROR),
    ("an index beyond the table", frame(HEADERS, END_HEADERS, 1, b"\xff\x80\x01"), Code.COMPRESSION_ERROR),
    ("a text beyond the block", frame(HEADERS, END_HEADERS, 1, b"\x00\x7f"), Code.COMPRESSION_ERROR),
    ("an endless integer", frame(HEADERS, END_HEADERS, 1, b"\xff" * 40), Code.COMPRESSION_ERROR),
    ("a table size update too large", frame(HEADERS, END_HEADERS, 1, b"\x3f\xe2\x7f"), Code.COMPRESSION_ERROR),
    ("three table size updates", frame(HEADERS, END_HEADERS, 1, b"\x20\x20\x20"), Code.COMPRESSION_ERROR),
    ("a table size update behind a field", frame(HEADERS, END_HEADERS, 1, b"\x83\x20"), Code.COMPRESSION_ERROR),
    ("bad Huffman code", frame(HEADERS, END_HEADERS, 1, b"\x00\x81\xff\x00"), Code.COMPRESSION_ERROR),
    ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, b"\0" * 5), Code.PROTOCOL_ERROR),
    ("PRIORITY of an idle stream on itself", frame(PRIORITY, 0, 9, _one(9) + b"\0"), Code.PROTOCOL_ERROR),
    ("PRIORITY of four bytes", frame(PRIORITY, 0, 1, b"\0" * 4), Code.FRAME_SIZE_ERROR),
    ("RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, _one(8)), Code.PROTOCOL_ERROR),
    ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, _one(8)), Code.PROTOCOL_ERROR),
    ("RST_STREAM of three bytes", OPEN + frame(RST_STREAM, 0, 1, b"\0\0\0"), Code.FRAME_SIZE_ERROR),
    ("SETTINGS on a stream", frame(SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
    ("SETTINGS of five bytes", frame(SETTINGS, 0, 0, b"\0" * 5), Code.FRAME_SIZE_ERROR),
    ("an acknowledgement with settings", frame(SETTINGS, ACK, 0, b"\0" * 6), Code.FRAME_SIZE_ERROR),
    ("ENABLE_PUSH that is 2", _setting(frames.ENABLE_PUSH, 2), Code.PROTOCOL_ERROR),
    ("a window of 2^31", _setting(frames.INITIAL_WINDOW_SIZE, 1 << 31), Code.FLOW_CONTROL_ERROR),
    ("frames of 16383 bytes", _setting(frames.MAX_FRAME_SIZE, 16383), Code.PROTOCOL_ERROR),
    ("frames of 2^24 bytes", _setting(frames.MAX_FRAME_SIZE, 1 << 24), Code.PROTOCOL_ERROR),
    ("hundreds of settings", frames.settings([(99, 1)] * 200), Code.ENHANCE_YOUR_CALM),
    ("a push", frame(PUSH_PROMISE, END_HEADERS, 1, _one(2) + b"\x82"), Code.PROTOCOL_ERROR),
    ("an empty push", frame(PUSH_PROMISE, END_HEADERS, 1), Code.PROTOCOL_ERROR),
    ("PING on a stream", frame(PING, 0, 1, b"\0" * 8), Code.PROTOCOL_ERROR),
    ("PING of seven bytes", frame(PING, 0, 0, b"\0" * 7), Code.FRAME_SIZE_ERROR),
    ("GOAWAY on a stream", frame(GOAWAY, 0, 1, b"\0" * 8), Code.PROTOCOL_ERROR),
    ("GOAWAY of four bytes", frame(GOAWAY, 0, 0, b"\0" * 4), Code.FRAME_SIZE_ERROR),
    ("WINDOW_UPDATE by 0", frame(WINDOW_UPDATE, 0, 0, _one(0)), Code.PROTOCOL_ERROR),
    ("WINDOW_UPDATE of three bytes", frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"), Code.FRAME_SIZE_ERROR),
    ("WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, _one(1)), Code.PROTOCOL_ERROR),
    ("a window over 2^31 - 1", frame(WINDOW_UPDATE, 0, 0, _one((1 << 31) - 1)), Code.FLOW_CONTROL_ERROR),
    ("CONTINUATION alone", frame(CONTINUATION, END_HEADERS, 1), Code.PROTOCOL_ERROR),
    (
        "CONTINUATION of another stream",
        frame(HEADERS, 0, 1, b"\x83") + frame(CONTINUATION, END_HEADERS, 3),
        Code.PROTOCOL_ERROR,
    ),
    ("a PING inside a header block", frame(HEADERS, 0, 1, b"\x83") + frame(PING, 0, 0, b"\0" * 8), Code.PROTOCOL_ERROR),
    ("an unknown frame inside a header block", frame(HEADERS, 0, 1, b"\x83") + frame(99, 0, 1), Code.PROTOCOL_ERROR),
    ("DATA inside a header block", OPEN + frame(HEADERS, 0, 3) + frame(DATA, 0, 1, b"x"), Code.PROTOCOL_ERROR),
    ("a frame of 2 MiB", frames.frame_head(1 << 21, DATA, 0, 1), Code.FRAME_SIZE_ERROR),
    ("HEADERS of 100 kB", frames.frame_head(100_000, HEADERS, END_HEADERS, 1), Code.ENHANCE_YOUR_CALM),
    ("CONTINUATION without an end", frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * 50, Code.ENHANCE_YOUR_CALM),
    ("long CONTINUATION", frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1, b"\0" * 16384) * 9, Code.ENHANCE_YOUR_CALM),
    ("a bomb of one indexed field", frame(
        HEADERS, END_HEADERS, 1, b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000 + b"\xbe" * 16000), Code.ENHANCE_YOUR_CALM),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "code"), [row[1:] for row in CONNECTION_FAULTS], ids=[r[0] for r in CONNECTION_FAULTS]
)
def test_what_breaks_the_protocol_ends_the_connection_with_the_code_of_the_rfc(sent: bytes, code: Code) -> None:
    peer = Peer()
    assert goaway_code(peer.send(HELLO)) is None
    assert goaway_code(peer.send(sent)) == code
    assert peer.connection.over
    assert peer.done == 1
    assert peer.send(headers(101, end=True)) == []


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", frames.PREFACE + frame(PING, 0, 0, b"\0" * 8),
     frames.PREFACE + headers(1)],
    ids=["HTTP/1.1", "a preface gone wrong", "PING before SETTINGS", "HEADERS before SETTINGS"],
)  # fmt: skip
def test_what_does_not_begin_as_http2_is_refused(sent: bytes) -> None:
    assert goaway_code(Peer().send(sent)) == Code.PROTOCOL_ERROR


def _with(*changed: tuple[bytes, bytes], without: bytes = b"") -> bytes:
    fields = [field for field in REQUEST if field[0] != without]
    return headers(1, [*fields, *changed], end=True)


STREAM_FAULTS: list[tuple[str, bytes, Code]] = [
    ("upper case", _with((b"Accept", b"x")), Code.PROTOCOL_ERROR),
    ("an empty name", _with((b"", b"x")), Code.PROTOCOL_ERROR),
    ("a blank in a name", _with((b"a b", b"x")), Code.PROTOCOL_ERROR),
    ("a line break in a value", _with((b"a", b"x\r\nb: c")), Code.PROTOCOL_ERROR),
    ("NUL in a value", _with((b"a", b"x\0")), Code.PROTOCOL_ERROR),
    ("a blank before a value", _with((b"a", b" x")), Code.PROTOCOL_ERROR),
    ("a blank after a value", _with((b"a", b"x\t")), Code.PROTOCOL_ERROR),
    ("an unknown pseudo-header", headers(1, [(b":magic", b"1"), *REQUEST], end=True), Code.PROTOCOL_ERROR),
    ("a pseudo-header of responses", headers(1, [(b":status", b"200"), *REQUEST], end=True), Code.PROTOCOL_ERROR),
    ("a pseudo-header behind", _with((b":path", b"/x"), without=b":path"), Code.PROTOCOL_ERROR),
    ("two paths", headers(1, [(b":path", b"/x"), *REQUEST], end=True), Code.PROTOCOL_ERROR),
    ("no method", _with(without=b":method"), Code.PROTOCOL_ERROR),
    ("no scheme", _with(without=b":scheme"), Code.PROTOCOL_ERROR),
    ("no path", _with(without=b":path"), Code.PROTOCOL_ERROR),
    ("an empty path", headers(1, [(b":path", b""), *REQUEST[:2], *REQUEST[3:]], end=True), Code.PROTOCOL_ERROR),
    ("no pseudo-headers at all", headers(1, [(b"te", b"trailers")], end=True), Code.PROTOCOL_ERROR),
    ("connection", _with((b"connection", b"close")), Code.PROTOCOL_ERROR),
    ("transfer-encoding", _with((b"transfer-encoding", b"chunked")), Code.PROTOCOL_ERROR),
    ("upgrade", _with((b"upgrade", b"h2c")), Code.PROTOCOL_ERROR),
    ("te that is not trailers", _with((b"te", b"gzip"), without=b"te"), Code.PROTOCOL_ERROR),
    ("a length without a body", _with((b"content-length", b"5")), Code.PROTOCOL_ERROR),
    ("a length that is no number", _with((b"content-length", b"+5")), Code.PROTOCOL_ERROR),
    ("two lengths", _with((b"content-length", b"0"), (b"content-length", b"1")), Code.PROTOCOL_ERROR),
    (
        "less data than announced",
        headers(1, [*REQUEST, (b"content-length", b"5")]) + frame(DATA, END_STREAM, 1, b"four"),
        Code.PROTOCOL_ERROR,
    ),
    (
        "more data than announced",
        headers(1, [*REQUEST, (b"content-length", b"3")]) + frame(DATA, 0, 1, b"four"),
        Code.PROTOCOL_ERROR,
    ),
    (
        "trailers before the announced data",
        headers(1, [*REQUEST, (b"content-length", b"3")]) + headers(1, [(b"a", b"b")], end=True),
        Code.PROTOCOL_ERROR,
    ),
    ("trailers that do not end", OPEN + headers(1, [(b"a", b"b")]), Code.PROTOCOL_ERROR),
    ("a pseudo-header in trailers", OPEN + headers(1, [(b":path", b"/")], end=True), Code.PROTOCOL_ERROR),
    ("an upper case trailer", OPEN + headers(1, [(b"A", b"b")], end=True), Code.PROTOCOL_ERROR),
    ("WINDOW_UPDATE by 0", OPEN + frame(WINDOW_UPDATE, 0, 1, _one(0)), Code.PROTOCOL_ERROR),
    ("a window over 2^31 - 1", OPEN + frame(WINDOW_UPDATE, 0, 1, _one((1 << 31) - 1)), Code.FLOW_CONTROL_ERROR),
    ("PRIORITY of six bytes", OPEN + frame(PRIORITY, 0, 1, b"\0" * 6), Code.FRAME_SIZE_ERROR),
    ("PRIORITY on itself", OPEN + frame(PRIORITY, 0, 1, _one(1) + b"\0"), Code.PROTOCOL_ERROR),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "code"), [row[1:] for row in STREAM_FAULTS], ids=[row[0] for row in STREAM_FAULTS])
def test_a_malformed_request_ends_its_stream_and_the_next_one_is_served(sent: bytes, code: Code) -> None:
    peer = Peer()
    peer.send(HELLO)
    answer = peer.send(sent)
    assert reset_code(answer, 1) == code
    assert goaway_code(answer) is None
    assert not peer.connection.streams
    for recorder in peer.application.begun.values():
        assert recorder.left == 1
    assert [kind for kind, _, _, _ in peer.send(headers(3, end=True))] == [HEADERS, DATA, HEADERS]


@pytest.mark.parametrize(
    "late", [frame(DATA, 0, 1, b"x"), headers(1, [(b"a", b"b")], end=True)], ids=["DATA", "HEADERS"]
)
def test_what_follows_the_end_of_a_request_ends_its_stream_while_it_is_answered(late: bytes) -> None:
    peer = Peer(RecordingApplication(answers=False))
    peer.send(HELLO, WHOLE)
    assert reset_code(peer.send(late), 1) == Code.STREAM_CLOSED
    assert peer.application.begun[1].left == 1


def test_a_stream_that_was_cut_off_ignores_what_was_under_way_but_counts_it() -> None:
    peer = Peer(bounds=Bounds(connection_window=200_000))
    peer.send(HELLO, headers(1, [*REQUEST, (b"content-length", b"1")]))
    assert reset_code(peer.send(frame(DATA, 0, 1, b"xx")), 1) == Code.PROTOCOL_ERROR
    assert peer.send(frame(DATA, 0, 1, b"x" * 16_000)) == []
    assert peer.send(headers(1, [(b"a", b"b")], end=True), frame(RST_STREAM, 0, 1, _one(8))) == []
    found = peer.send(*[frame(DATA, 0, 1, b"x" * 16_000)] * 6)
    assert [(kind, stream) for kind, _, stream, _ in found] == [(WINDOW_UPDATE, 0)]


def test_more_than_the_windows_is_a_flow_control_error_of_the_stream_or_of_the_connection() -> None:
    bounds = Bounds(stream_window=70_000, connection_window=100_000)
    peer = Peer(RecordingApplication(gives_room=False), bounds)
    peer.send(HELLO, headers(1))
    assert peer.send(*[frame(DATA, 0, 1, b"x" * 10_000)] * 7)[0][0] == WINDOW_UPDATE
    assert reset_code(peer.send(frame(DATA, 0, 1, b"x")), 1) == Code.FLOW_CONTROL_ERROR
    tight = Peer(RecordingApplication(gives_room=False), bounds)
    tight.connection._window = 20_000
    tight.send(HELLO, headers(1))
    assert goaway_code(tight.send(frame(DATA, 0, 1, b"x" * 20_001))) == Code.FLOW_CONTROL_ERROR


def test_room_is_given_back_in_large_steps_and_padding_counts() -> None:
    peer = Peer(bounds=Bounds(stream_window=100_000, connection_window=200_000))
    peer.send(HELLO, headers(1))
    padded = frame(DATA, PADDED, 1, b"\xff" + b"x" * 10_000 + b"\0" * 255)
    found = peer.send(*[padded] * 40)
    updates = [(stream, int.from_bytes(payload, "big")) for kind, _, stream, payload in found if kind == WINDOW_UPDATE]
    assert len(updates) == 12
    assert sum(size for stream, size in updates if stream == 0) >= 300_000
    assert sum(size for stream, size in updates if stream == 1) > 40 * 10_256 - 50_000
    assert peer.application.begun[1].body == b"x" * 400_000


def test_padding_alone_does_not_use_a_window_up() -> None:
    peer = Peer(bounds=Bounds(stream_window=70_000, connection_window=70_000))
    peer.send(HELLO, headers(1))
    found = peer.send(*[frame(DATA, PADDED, 1, b"\xff" + b"\0" * 255)] * 2000)
    assert goaway_code(found) is None
    assert reset_code(found, 1) is None


def test_the_same_head_is_read_once_until_the_table_changes() -> None:
    peer = Peer()
    peer.send(HELLO)
    plain = literal(REQUEST)
    indexing = b"\x40\x01a\x01b"
    for number in range(1, 41, 2):
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, number, plain))
    assert peer.application.reads == 1
    peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 41, plain + indexing))
    peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 43, plain + b"\xbe"))
    peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 45, plain + b"\xbe"))
    assert peer.application.reads == 3
    peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 47, plain + b"\x40\x01a\x01c"))
    peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 49, plain + b"\xbe"))
    recorded = [peer.application.begun[number].stream.head[1][-1] for number in (41, 43, 45, 47, 49)]
    assert recorded == [(b"a", b"b"), (b"a", b"b"), (b"a", b"b"), (b"a", b"c"), (b"a", b"c")]


def test_streams_over_the_limit_are_refused_and_may_be_sent_again() -> None:
    peer = Peer(RecordingApplication(answers=False), Bounds(max_streams=2))
    peer.send(HELLO, headers(1), headers(3))
    assert reset_code(peer.send(headers(5)), 5) == Code.REFUSED_STREAM
    assert 5 not in peer.application.begun
    peer.send(frame(RST_STREAM, 0, 1, _one(8)))
    assert peer.application.begun[1].left == 1
    assert peer.send(headers(7)) == []
    assert set(peer.connection.streams) == {3, 7}


@pytest.mark.parametrize(
    "flood",
    [
        lambda n: headers(2 * n + 1) + frame(RST_STREAM, 0, 2 * n + 1, _one(8)),
        lambda n: frame(PING, 0, 0, b"\0" * 8),
        lambda n: frames.settings([(frames.INITIAL_WINDOW_SIZE, n % 1000)]),
        lambda n: frame(PRIORITY, 0, 1, _one(0) + b"\0"),
        lambda n: headers(2 * n + 1, [*REQUEST, (b"Bad", b"")]),
        lambda n: frame(250, 0, 0, b"what"),
        lambda n: (headers(1) if n == 0 else b"") + frame(DATA, 0, 1),
        lambda n: (headers(1) if n == 0 else b"") + frame(WINDOW_UPDATE, 0, 1, _one(1)),
        lambda n: (headers(1, end=True) if n == 0 else b"") + frame(RST_STREAM, 0, 1, _one(8)),
    ],
    ids=["rapid reset", "PING", "SETTINGS", "PRIORITY", "malformed requests", "unknown frames", "empty DATA",
         "WINDOW_UPDATE", "RST_STREAM on what has ended"],
)  # fmt: skip
def test_a_flood_is_ended_and_the_same_at_a_decent_pace_is_not(flood: Callable[[int], bytes]) -> None:
    bounds = Bounds(resets=50, resets_per_s=100, idle_frames=500, idle_frames_per_s=1000)
    peer = Peer(bounds=bounds)
    found = peer.send(HELLO, *[flood(number) for number in range(1000)])
    assert goaway_code(found) == Code.ENHANCE_YOUR_CALM
    slow = Peer(bounds=bounds)
    slow.send(HELLO)
    for number in range(1000):
        slow.now += 0.02
        assert goaway_code(slow.send(flood(number))) is None


def test_a_message_in_countless_tiny_frames_ends_its_stream() -> None:
    peer = Peer(bounds=Bounds(max_small_frames=100))
    peer.send(HELLO, headers(1))
    found = peer.send(*[frame(DATA, 0, 1, b"x")] * 101)
    assert reset_code(found, 1) == Code.ENHANCE_YOUR_CALM
    full = peer.send(headers(3), *[frame(DATA, 0, 3, b"x" * 16_384)] * 50)
    assert reset_code(full, 3) is None


def test_an_answer_waits_for_room_and_its_end_comes_last() -> None:
    peer = Peer(bounds=Bounds(stream_window=1 << 20))
    peer.send(HELLO, headers(1), *[frame(DATA, 0, 1, b"y" * 16_000)] * 6)
    first = peer.send(frame(DATA, END_STREAM, 1))
    sent = [payload for kind, _, _, payload in first if kind == DATA]
    assert sum(map(len, sent)) == 65_535
    assert all(len(payload) <= 16_384 for payload in sent)
    assert not any(flags & END_STREAM for _, flags, _, _ in first)
    recorder = peer.application.begun[1]
    assert recorder.taken == 0
    assert peer.send(frame(WINDOW_UPDATE, 0, 0, _one(100_000))) == []
    rest = peer.send(frame(WINDOW_UPDATE, 0, 1, _one(100_000)))
    assert sum(len(payload) for kind, _, _, payload in rest if kind == DATA) == 96_000 - 65_535
    assert (rest[-1][0], bool(rest[-1][1] & END_STREAM)) == (HEADERS, True)
    assert recorder.taken == 1
    assert not peer.connection.streams


def test_a_window_made_smaller_and_larger_by_settings_holds_for_open_streams() -> None:
    peer = Peer()
    peer.send(HELLO, _setting(frames.INITIAL_WINDOW_SIZE, 10))
    held = peer.send(headers(1), frame(DATA, END_STREAM, 1, b"z" * 25))
    assert [payload for kind, _, _, payload in held if kind == DATA] == [b"z" * 10]
    peer.send(_setting(frames.INITIAL_WINDOW_SIZE, 0))
    grown = peer.send(_setting(frames.INITIAL_WINDOW_SIZE, 20))
    assert [payload for kind, _, _, payload in grown if kind == DATA] == [b"z" * 10]
    last = peer.send(frame(WINDOW_UPDATE, 0, 1, _one(5)))
    assert [payload for kind, _, _, payload in last if kind == DATA] == [b"z" * 5]
    assert last[-1][1] & END_STREAM


def test_waiting_streams_take_turns() -> None:
    peer = Peer()
    peer.send(HELLO, _setting(frames.INITIAL_WINDOW_SIZE, 1 << 20))
    for number in (1, 3):
        peer.send(headers(number), *[frame(DATA, 0, number, b"y" * 16_000)] * 20, frame(DATA, END_STREAM, number))
    turns = peer.send(frame(WINDOW_UPDATE, 0, 0, _one(300_000)))
    order = [stream for kind, _, stream, _ in turns if kind == DATA]
    turns_of = [(stream, len(list(group))) for stream, group in itertools.groupby(order)]
    assert len(turns_of) >= 4
    assert all(count * 16_000 <= 6 * 16_384 for _, count in turns_of)


def test_nothing_but_answers_to_its_frames_is_sent_while_the_socket_is_full() -> None:
    peer = Peer()
    peer.connection.sender.paused = True
    found = peer.send(HELLO, headers(1, end=True), frame(PING, 0, 0, b"12345678"))
    assert [kind for kind, _, _, _ in found if kind in (DATA, PING)] == [PING]
    peer.send(headers(3), frame(DATA, END_STREAM, 3, b"abc"))
    assert not [kind for kind, _, _, _ in peer.taken() if kind == DATA]
    peer.connection.resume()
    assert [payload for kind, _, stream, payload in peer.taken() if kind == DATA and stream == 3] == [b"abc"]


def test_a_client_with_a_smaller_table_is_told_once_that_ours_is_empty() -> None:
    from hpack import Decoder

    peer = Peer()
    found = peer.send(HELLO, _setting(frames.HEADER_TABLE_SIZE, 0), headers(1, end=True), headers(3, end=True))
    blocks = [payload for kind, _, _, payload in found if kind == HEADERS]
    decoder = Decoder()
    decoder.max_allowed_table_size = 0
    assert dict(decoder.decode(blocks[0], raw=True))[b":status"] == b"200"
    assert [block[:1] == b"\x20" for block in blocks] == [True, False, False, False]


def test_a_drain_serves_what_is_on_its_way_and_names_the_last_request_after_a_round_trip() -> None:
    peer = Peer(RecordingApplication(answers=False))
    peer.send(HELLO, headers(1))
    peer.connection.drain(peer.now)
    first = peer.taken()
    assert [kind for kind, _, _, _ in first] == [GOAWAY, PING]
    assert (int.from_bytes(first[0][3][:4], "big"), goaway_code(first)) == ((1 << 31) - 1, Code.NO_ERROR)
    peer.send(headers(3))
    last = peer.send(frame(PING, ACK, 0, first[1][3]))
    assert (int.from_bytes(last[0][3][:4], "big"), goaway_code(last)) == (3, Code.NO_ERROR)
    assert peer.send(headers(5), frame(DATA, 0, 5, b"x")) == []
    assert set(peer.application.begun) == {1, 3}
    peer.application.answers = True
    peer.send(frame(DATA, END_STREAM, 1))
    assert peer.done == 0
    peer.send(frame(DATA, END_STREAM, 3))
    assert peer.done == 1


def test_after_so_many_requests_the_connection_ends_in_order() -> None:
    peer = Peer(bounds=Bounds(max_requests=3))
    assert goaway_code(peer.send(HELLO, headers(1, end=True), headers(3, end=True))) is None
    found = peer.send(headers(5, end=True))
    assert goaway_code(found) == Code.NO_ERROR
    assert HEADERS in [kind for kind, _, stream, _ in found if stream == 5]


def test_whoever_answers_early_stops_the_client_without_an_error() -> None:
    peer = Peer(RecordingApplication(answers=False))
    peer.send(HELLO, headers(1), frame(DATA, 0, 1, b"x"))
    stream = peer.application.begun[1].stream
    peer.connection.sender.head(stream, b"\x88", end=True)
    assert reset_code(peer.taken(), 1) == Code.NO_ERROR
    assert peer.send(frame(DATA, END_STREAM, 1, b"more")) == []
    assert peer.application.begun[1].left == 0


def test_a_lost_client_is_told_to_every_request_once() -> None:
    peer = Peer(RecordingApplication(answers=False))
    peer.send(HELLO, headers(1), headers(3, end=True))
    peer.connection.lost()
    peer.connection.lost()
    assert [recorder.left for recorder in peer.application.begun.values()] == [1, 1]
    assert peer.done == 1


def test_an_independent_client_understands_everything() -> None:
    """``h2`` checks what it receives: states, windows, header blocks."""
    for table_size, window in ((4096, 65_535), (0, 1), (100, 1_000)):
        peer = Peer()
        other = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        other.initiate_connection()
        other.update_settings({
            h2.settings.SettingCodes.HEADER_TABLE_SIZE: table_size,
            h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window,
        })  # fmt: skip
        bodies: dict[int, bytes] = {}
        ended: set[int] = set()
        for number in range(20):
            stream_id = other.get_next_available_stream_id()
            other.send_headers(stream_id, [*REQUEST, (b"number", b"%d" % number)])
            other.send_data(stream_id, b"%d" % number * 300, end_stream=True, pad_length=number or None)
            bodies[stream_id] = b""
            for _ in range(1200):
                peer.connection.receive(other.data_to_send(), peer.now)
                events = other.receive_data(bytes(peer.output))
                peer.output.clear()
                for event in events:
                    assert not isinstance(event, h2.events.ConnectionTerminated | h2.events.StreamReset), event
                    if isinstance(event, h2.events.DataReceived):
                        bodies[event.stream_id] += event.data
                        other.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, h2.events.StreamEnded):
                        ended.add(event.stream_id)
                if stream_id in ended:
                    break
            assert bodies[stream_id] == b"%d" % number * 300
        assert ended == set(bodies)
