"""Inference requests before they take the form of a protocol, and how valid ones are generated."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.fakes.triton_zoo.repository import DATATYPES, ECHO_DIMS

NUMPY = {
    "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
    "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_FLOATS = {"FP16": st.floats(width=16), "FP32": st.floats(width=32), "FP64": st.floats(width=64)}
_TEXTS = st.one_of(st.sampled_from(["", "a", "grüße", '"\\/\n\t\x00', "\u2028😀", "x" * 300]), st.text(max_size=8))
IDS = st.one_of(st.none(), st.sampled_from(["7", "grüße", " ", "a b", "x" * 100]), st.text(max_size=6))


@dataclass(frozen=True)
class Input:
    """One input tensor; ``data`` is what the wire has, right or wrong."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class Wanted:
    """A requested output; ``binary`` is REST's wish about its form."""

    name: str
    classes: int | None = None
    binary: bool | None = None


@dataclass(frozen=True)
class Ask:
    """One request. ``spoilt`` names what was done to it, in order."""

    model: str
    version: str = ""
    id: str | None = None
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Wanted, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    spoilt: tuple[str, ...] = ()

    def spoiling(self, what: str, **changes: Any) -> Ask:
        """Return a changed copy."""
        return replace(self, **changes, spoilt=(*self.spoilt, what))


def texts_to_raw(texts: list[bytes]) -> bytes:
    """Return the elements of a BYTES tensor, each after its length."""
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def raw_to_texts(data: bytes) -> list[bytes]:
    """Return the elements of a BYTES tensor, as far as they are there."""
    texts, offset = [], 0
    while offset + 4 <= len(data):
        end = offset + 4 + int.from_bytes(data[offset : offset + 4], "little")
        texts.append(data[offset + 4 : end])
        offset = end
    return texts


@st.composite
def tensors(draw: st.DrawFn, name: str, datatype: str, dims: tuple[int, ...], batch: int = 0) -> Input:
    """Return an input that fits; dimensions of 0 among those that may have any size."""
    shape = tuple(draw(st.integers(0, 3)) if dim < 0 else dim for dim in dims)
    shape = (batch, *shape) if batch else shape
    count = int(np.prod(shape, dtype=np.int64))
    return Input(name, datatype, shape, draw(elements(datatype, count)))


@st.composite
def elements(draw: st.DrawFn, datatype: str, count: int) -> bytes:
    """Return the bytes of some elements: limits, odd floating-point numbers, text that is no UTF-8."""
    if datatype == "BYTES":
        text = st.one_of(_TEXTS.map(lambda value: value.encode("utf-8", "surrogatepass")), st.binary(max_size=6))
        return texts_to_raw(draw(st.lists(text, min_size=count, max_size=count)))
    if datatype == "BOOL":
        return bytes(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
    if datatype == "BF16":
        return draw(st.binary(min_size=2 * count, max_size=2 * count))
    if datatype.startswith("FP"):
        number: st.SearchStrategy[Any] = _FLOATS[datatype]
    else:
        limits = np.iinfo(NUMPY[datatype])
        number = st.one_of(st.sampled_from([int(limits.min), int(limits.max)]), st.integers(-3, 9)).map(
            lambda value: max(value, int(limits.min))
        )
    return np.array(draw(st.lists(number, min_size=count, max_size=count)), NUMPY[datatype]).tobytes()


def _versions(*served: str) -> st.SearchStrategy[str]:
    return st.sampled_from(served)


@st.composite
def echoes(draw: st.DrawFn) -> Ask:
    """Some of the 14 inputs of ``echo``, or of ``batched`` with a batch dimension."""
    model = draw(st.sampled_from(["echo", "batched"]))
    names = draw(st.lists(st.sampled_from(sorted(DATATYPES)), min_size=1, max_size=4, unique=True))
    batch = draw(st.integers(1, 4)) if model == "batched" else 0
    inputs = tuple(draw(tensors(n, n, ECHO_DIMS[n] if model == "echo" else (-1,), batch)) for n in names)
    wanted = draw(st.lists(st.sampled_from(names), unique=True, max_size=3))
    forms = st.sampled_from([None, True, False])
    return Ask(model, draw(_versions("", "1")), draw(IDS), inputs, tuple(Wanted(n, None, draw(forms)) for n in wanted))


@st.composite
def pairs(draw: st.DrawFn) -> Ask:
    """Two required inputs and an optional one; a version must be named, for Triton's default is the newest."""
    batch = draw(st.integers(1, 8))
    names = ["LEFT", "RIGHT", *draw(st.sampled_from([[], ["BIAS"]]))]
    inputs = tuple(draw(tensors(name, "INT32", (2,), batch)) for name in draw(st.permutations(names)))
    wanted = draw(st.lists(st.sampled_from(["SUM", "DIFFERENCE"]), max_size=2, unique=True))
    return Ask("pair", draw(_versions("1", "2")), draw(IDS), inputs, tuple(Wanted(name) for name in wanted))


@st.composite
def scalars(draw: st.DrawFn) -> Ask:
    """A model of scalars behind ``reshape``."""
    return Ask("scalar", "", draw(IDS), (draw(tensors("INT32", "INT32", (1,), draw(st.integers(1, 4)))),))


@st.composite
def rankings(draw: st.DrawFn) -> Ask:
    """Classification, with labels and without."""
    scores = draw(tensors("FEATURES", "FP32", (3,), draw(st.integers(1, 3))))
    names = draw(st.lists(st.sampled_from(["SCORES", "ORDER"]), min_size=1, max_size=2, unique=True))
    counts, forms = st.sampled_from([None, 1, 2, 3, 5, 1000]), st.sampled_from([None, True, False])
    return Ask("labelled", "1", draw(IDS), (scores,), tuple(Wanted(n, draw(counts), draw(forms)) for n in names))


@st.composite
def faults(draw: st.DrawFn) -> Ask:
    """A model that fails as it is told."""
    code = draw(st.integers(0, 11))
    return Ask("faulty", "", draw(IDS), (Input("CODE", "INT32", (1,), struct.pack("<i", code)),))


PARAMETER_VALUES = st.one_of(
    st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), st.sampled_from(["", "text", "größe", "1"]),
    st.sampled_from([0.5, -1e300]),
)  # fmt: skip


@st.composite
def parameterised(draw: st.DrawFn) -> Ask:
    """Parameters of every kind, for a model that says what arrived."""
    found = draw(st.dictionaries(st.sampled_from(["a", "größe", "b.c", ""]), PARAMETER_VALUES, max_size=3))
    for name, value in {"priority": draw(st.integers(0, 9)), "timeout": 60_000_000}.items():
        if draw(st.booleans()):
            found[name] = value
    return Ask("parameters", "", draw(IDS), (Input("ANY", "INT32", (1,), b"\0" * 4),), (), found)


valid = st.one_of(echoes(), echoes(), echoes(), pairs(), scalars(), rankings(), faults(), parameterised())
