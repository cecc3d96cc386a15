"""Depth and length of JSON, counted before anything is made of it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core.errors import InvalidRequest
from services.gateway.edge.rest import json_bounds
from services.gateway.edge.rest.json_bounds import check_json
from services.gateway.limits import Limits

_TEXT = st.text(st.sampled_from('a,[]{}":\\\n\u00e9 '), max_size=12)
_VALUES = st.recursive(
    st.one_of(st.integers(-9, 9), st.booleans(), st.none(), _TEXT),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=25,
)


def _passes(text: bytes, limits: Limits) -> bool:
    try:
        for _ in check_json(text, limits):
            pass
    except InvalidRequest:
        return False
    return True


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _count(value: Any) -> int:
    """Count as the bound does: a value for each comma and each bracket that opens, and one more."""
    if isinstance(value, dict):
        return 1 + max(0, len(value) - 1) + sum(map(_nested, value.values()))
    return 1 + max(0, len(value) - 1) + sum(map(_nested, value)) if isinstance(value, list) else 0


def _keys(value: Any, of_object: int) -> int:
    """Count keys, and so much more for each object."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = len(value) + of_object if isinstance(value, dict) else 0
    return own + sum(_keys(item, of_object) for item in inner)


def _texts(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (len(value) if isinstance(value, dict) else isinstance(value, str)) + sum(map(_texts, inner))


def _nested(value: Any) -> int:
    return _count(value) if isinstance(value, list | dict) else 0


@settings(max_examples=600)
@given(value=_VALUES, slice_bytes=st.integers(1, 40), ascii_only=st.booleans())
def test_depth_and_number_of_values_are_exact_wherever_the_text_is_sliced(
    value: Any, slice_bytes: int, ascii_only: bool
) -> None:
    text = json.dumps([value], ensure_ascii=ascii_only).encode()
    depth, count = _depth([value]), _count([value]) + 1
    scan = json_bounds.Scan(Limits(max_json_depth=1000), count=True)
    position = 0
    while position < len(text):
        piece = json_bounds.next_slice(text, position, slice_bytes)
        position += len(piece)
        scan.feed(piece)
    assert (scan.deepest, scan.values) == (depth, count)
    assert scan.texts == _texts([value])
    assert _keys([value], 0) <= scan.keys <= _keys([value], 1)


def test_a_text_on_the_bound_passes_and_one_beyond_it_does_not() -> None:
    limits = Limits(max_json_depth=5, max_json_values=1000)
    assert _passes(b"[" * 5 + b"]" * 5, limits)
    assert not _passes(b"[" * 6 + b"]" * 6, limits)
    assert not _passes(b'{"a":' * 6 + b"1" + b"}" * 6, limits)
    assert _passes(b"[" + b",".join([b"[]"] * 100) + b"]", limits)
    assert _passes(json.dumps([0] * 999).encode(), limits)
    assert not _passes(json.dumps([0] * 1001).encode(), limits)


def test_brackets_and_commas_inside_of_texts_do_not_count() -> None:
    limits = Limits(max_json_depth=5, max_json_values=1000)
    for text in ("[" * 500, "," * 5000, '"' * 500 + "[" * 500, "\\" * 501 + "[" * 500, "{\\" * 500):
        assert _passes(json.dumps({"a": [text, "x"]}).encode(), limits), text[:20]


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
        b"[" + b"[]," * 20_000_000,
        b"[" + b"{}," * 20_000_000,
        b"0," * 30_000_000,
    ],
)
def test_hostile_texts_are_refused_slice_by_slice_long_before_their_end(text: bytes) -> None:
    slices = itertools.count()
    with pytest.raises(InvalidRequest):
        all(next(slices) >= 0 for _ in check_json(text, Limits()))
    assert next(slices) * 256 * 1024 < 18_000_000  # 4 million values of three bytes each, a text of 16 MiB
