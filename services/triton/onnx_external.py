"""ONNX models whose weights lie in other files: none of those may lie outside the version's folder.

Read from the protobuf itself, of which only the path to the file names is followed: ``onnx`` is no part of serving.
Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from services.core.errors import IntegrityError

# By message, the fields that lead to tensors, and which message each holds.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_KEY, _VALUE = 1, 2
_LOCATION = b"location"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTH = {_FIXED64: 8, _FIXED32: 4}
_MOST_VARINT_BYTES = 10
# Graphs inside operators inside graphs; more is no model.
_DEEPEST = 64


def external_faults(folder: Path) -> list[str]:
    """Return what is wrong with the files that a version's ONNX models name; empty when nothing is.

    A file must lie in the folder, be no link, and have no second name elsewhere by which it could be changed.
    """
    faults = []
    for path in sorted(folder.rglob("*.onnx")):
        if not path.is_file():
            continue
        try:
            locations = sorted(set(external_locations(path)))
        except ValueError as error:
            faults.append(f"{path.name} is no ONNX model: {error}")
            continue
        faults += [f"{path.name} names {fault}" for one in locations if (fault := _fault(path.parent, folder, one))]
    return faults


def check_external(folder: Path) -> None:
    """Refuse a version whose ONNX models name files that are not its own.

    Raises:
        IntegrityError: They do.
    """
    if faults := external_faults(folder):
        raise IntegrityError(f"{folder}: {'; '.join(faults)}; keep the weights in the model's file or beside it")


def external_locations(path: Path) -> Iterator[str]:
    """Yield the name of every file that an ONNX model takes weights from, as it stands there.

    Raises:
        ValueError: It is no protobuf message, or nests without end.
    """
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        left = [("model", 0, len(data), 0)]
        while left:
            kind, start, end, depth = left.pop()
            if depth > _DEEPEST:
                raise ValueError(f"graphs nest more than {_DEEPEST} levels deep")
            if kind == "entry":
                yield from _location(data, start, end)
                continue
            fields = _FIELDS[kind]
            for number, begin, stop in _messages(data, start, end):
                if number in fields:
                    left.append((fields[number], begin, stop, depth + 1))


def _fault(beside: Path, folder: Path, location: str) -> str | None:
    parts = PurePosixPath(location.replace("\\", "/"))
    if not location or parts.is_absolute() or ".." in parts.parts or "\0" in location:
        return f"'{location}', which leads out of its folder"
    path = beside / parts
    if any(one.is_symlink() for one in (path, *path.parents) if one.is_relative_to(folder) and one != folder):
        return f"'{location}', which is a link"
    if not path.is_file():
        return f"'{location}', which is not there"
    if path.stat().st_nlink > 1:
        return f"'{location}', which has another name elsewhere (a hard link)"
    return None


def _location(data: mmap.mmap, start: int, end: int) -> Iterator[str]:
    entry = {number: data[begin:stop] for number, begin, stop in _messages(data, start, end)}
    if entry.get(_KEY) == _LOCATION:
        yield entry.get(_VALUE, b"").decode("utf-8", "replace")


def _messages(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, begin and end of every field that has a length; what lies in it is not touched."""
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, at = _varint(data, at, end)
        elif wire == _BYTES:
            size, at = _varint(data, at, end)
            if at + size > end:
                raise ValueError(f"a field of {size} bytes is cut off")
            yield number, at, at + size
            at += size
        elif wire in _WIDTH:
            at += _WIDTH[wire]
        else:
            raise ValueError(f"wire type {wire}")
    if at != end:
        raise ValueError("a field is cut off")


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for index in range(_MOST_VARINT_BYTES):
        if at + index >= end:
            raise ValueError("a number is cut off")
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a varint
            return value, at + index + 1
    raise ValueError("a number has no end")
