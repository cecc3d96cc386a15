"""Tensors in JSON: exact, or refused.

In: numbers must be of the datatype's kind and in its range; nothing is rounded to an integer or wrapped around. Lists
may be nested in any way; their elements in order are the tensor's. ``NaN``, ``Infinity`` and ``-Infinity`` are read and
written as Triton does, although RFC 8259 has no such words: the alternative is to change a value silently. FP16 and
BF16 have no JSON form in the protocol, and binary data that is no UTF-8 text has none either.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from services.core.errors import InvalidRequest
from services.core.tensor import Tensor
from services.gateway.edge.paced import Slices

# struct checks the range of everything that it packs.
_CODES = {
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP32": "f",
    "FP64": "d",
}
_FLOATS = frozenset({"FP32", "FP64"})
_BINARY_ONLY = frozenset({"FP16", "BF16"})
_DTYPES: dict[str, npt.DTypeLike] = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP32": "<f4",
    "FP64": "<f8",
}
_LENGTH_BYTES = 4
_WRITTEN_AT_ONCE = 16 * 1024


def to_raw(name: str, datatype: str, shape: tuple[int, ...], count: int, data: Sequence[Any]) -> bytes:
    """Return the raw bytes of a tensor's JSON ``data``.

    Args:
        name: Tensor name, for messages.
        datatype: A key of ``services.core.tensor.ITEM_SIZE``.
        shape: Dimensions.
        count: Their product.
        data: The list, nested in any way.

    Raises:
        InvalidRequest: The list is not a tensor of this datatype and shape.
    """
    if datatype in _BINARY_ONLY:
        if not count and not data:
            return b""
        raise no_json_form(name, datatype)
    flat = _flatten(data)
    if len(flat) != count:
        raise wrong_count(name, shape, count, str(len(flat)))
    return packed(name, datatype, flat)


def to_raw_in_slices(
    name: str, datatype: str, shape: tuple[int, ...], count: int, lists: Iterable[list[Any]]
) -> Slices[bytes]:
    """Return what ``to_raw`` does for a long list that comes in slices; each of them may be nested in any way."""
    parts: list[bytes] = []
    found = 0
    for piece in lists:
        flat = _flatten(piece)
        found += len(flat)
        if found > count:
            raise wrong_count(name, shape, count, f"more than {count}")
        if flat and datatype in _BINARY_ONLY:
            raise no_json_form(name, datatype)
        parts.append(packed(name, datatype, flat) if flat else b"")
        yield
    if found != count:
        raise wrong_count(name, shape, count, str(found))
    return b"".join(parts)


def packed(name: str, datatype: str, flat: Sequence[Any]) -> bytes:
    """Return the raw bytes of elements.

    Raises:
        InvalidRequest: They are not of this datatype.
    """
    kinds = set(map(type, flat))
    if datatype == "BYTES":
        _check_kinds(name, datatype, kinds, {str}, "text")
        return b"".join([_length_prefixed(text) for text in flat])
    if datatype == "BOOL":
        _check_kinds(name, datatype, kinds, {bool}, "true or false")
        return bytes(flat)
    if datatype in _FLOATS:
        _check_kinds(name, datatype, kinds, {int, float}, "numbers")
    else:
        _check_kinds(name, datatype, kinds, {int}, "integers of at most 64 bits")
    try:
        return struct.pack(f"<{len(flat)}{_CODES[datatype]}", *flat)
    except (struct.error, OverflowError) as error:
        raise InvalidRequest(f"input '{name}' holds a number that is out of the range of {datatype}") from error


def no_json_form(name: str, datatype: str) -> InvalidRequest:
    """Return the refusal of half-precision numbers as JSON."""
    return InvalidRequest(f"input '{name}' is {datatype}, which has no JSON form; send it as binary data")


def wrong_count(name: str, shape: tuple[int, ...], count: int, found: str) -> InvalidRequest:
    """Return the refusal of too few or too many elements."""
    return InvalidRequest(f"input '{name}' holds {found} elements; its shape {list(shape)} needs {count}")


def from_raw(tensor: Tensor) -> Any:
    """Return what ``orjson.dumps(..., option=OPT_SERIALIZE_NUMPY)`` writes as the tensor's flat ``data``.

    Raises:
        InvalidRequest: The tensor has no JSON form, so the client must ask for binary data.
    """
    datatype = tensor.datatype
    check_has_json_form(tensor)
    if datatype == "BYTES":
        return list(_texts(tensor))
    return _numbers(np.frombuffer(tensor.data, _DTYPES[datatype]), datatype)


def check_has_json_form(tensor: Tensor) -> None:
    """Check the datatype of an output that is wanted as JSON.

    Raises:
        InvalidRequest: It has no JSON form.
    """
    if tensor.datatype in _BINARY_ONLY:
        raise InvalidRequest(
            f"output '{tensor.name}' is {tensor.datatype}, which has no JSON form; ask for it with 'binary_data': true"
        )


def elements_in_slices(tensor: Tensor) -> Slices[list[bytes]]:
    """Return the pieces of the JSON text of a large tensor's ``data``; errors as in ``from_raw``."""
    pieces = [b"["]
    for part in _parts(tensor):
        pieces += (orjson.dumps(part, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1], b",")
        yield
    pieces[-1] = b"]"
    return pieces


def _parts(tensor: Tensor) -> Iterator[Any]:
    if tensor.datatype == "BYTES":
        texts = _texts(tensor)
        while part := list(islice(texts, _WRITTEN_AT_ONCE)):
            yield part
        return
    values = np.frombuffer(tensor.data, _DTYPES[tensor.datatype])
    for start in range(0, len(values), _WRITTEN_AT_ONCE):
        yield _numbers(values[start : start + _WRITTEN_AT_ONCE], tensor.datatype)


def _numbers(raw: npt.NDArray[Any], datatype: str) -> Any:
    # A copy, because a view into an answer may lie at any address, and orjson reads whole machine words.
    values = np.array(raw)
    if datatype not in _FLOATS:
        return values
    # As doubles: 0.1 of FP32 is written as 0.10000000149011612, the number that it is and that Triton writes.
    doubles = values.astype(np.float64)
    return doubles if np.isfinite(doubles).all() else orjson.Fragment(json.dumps(doubles.tolist()))


def _flatten(data: Sequence[Any]) -> Sequence[Any]:
    """Return the elements of a list nested in any way, as Triton reads it: only their order counts."""
    kinds = set(map(type, data))
    while list in kinds:
        if len(kinds) > 1:
            return list(_elements(data))
        data = list(chain.from_iterable(data))
        kinds = set(map(type, data))
    return data


def _elements(data: Sequence[Any]) -> Iterator[Any]:
    levels = [iter(data)]
    while levels:
        for item in levels[-1]:
            if type(item) is list:
                levels.append(iter(item))
                break
            yield item
        else:
            levels.pop()


def _check_kinds(name: str, datatype: str, found: set[type], allowed: set[type], words: str) -> None:
    wrong = found - allowed
    if wrong:
        kinds = ", ".join(sorted(_WORDS.get(kind, kind.__name__) for kind in wrong))
        raise InvalidRequest(f"input '{name}' is {datatype} and takes {words}; found also: {kinds}")


_WORDS: dict[type, str] = {
    bool: "true or false",
    int: "integers",
    float: "numbers with a fraction, with an exponent or beyond 64 bits",
    str: "text",
    type(None): "null",
    dict: "objects",
}


def _length_prefixed(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(_LENGTH_BYTES, "little") + data


def _texts(tensor: Tensor) -> Iterator[str]:
    data, offset = bytes(tensor.data), 0
    while offset < len(data):
        begin = offset + _LENGTH_BYTES
        offset = begin + int.from_bytes(data[offset:begin], "little")
        try:
            yield data[begin:offset].decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(
                f"output '{tensor.name}' holds bytes that are no UTF-8 text; ask for it with 'binary_data': true"
            ) from error
