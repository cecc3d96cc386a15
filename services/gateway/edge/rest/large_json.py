"""A large JSON request, parsed and converted in slices, so that small requests are served in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from services.core.tensor import ITEM_SIZE, element_count
from services.gateway.edge.paced import Slices
from services.gateway.edge.rest.json_tensor import to_raw_in_slices
from services.gateway.edge.rest.number_arrays import NotSliceableError, NumberArray, taken_out
from services.gateway.edge.rest.request import RawData, load

# Parsing less than this in one go takes a few milliseconds at most.
_PARSED_AT_ONCE_BYTES = 512 * 1024
_SLICE = 16 * 1024


def load_in_slices(text: bytes | memoryview, hold: Callable[[int], None]) -> Slices[dict[str, Any]]:
    """Return what ``load`` does, with the data of well-formed inputs converted to ``RawData`` already.

    Args:
        text: The JSON text, within the bounds.
        hold: Called with the bytes of each converted tensor; raises where there is no room.

    Raises:
        InvalidRequest: It is no JSON, or an input's data are not what its datatype and shape say.
    """
    arrays: dict[str, NumberArray] = {}
    rest: bytes | memoryview = text
    if len(text) > _PARSED_AT_ONCE_BYTES:
        rest, arrays = yield from taken_out(bytes(text))
    document = load(rest)
    try:
        yield from _convert(document, arrays, hold)
    except NotSliceableError:
        document = load(text)
        yield from _convert(document, {}, hold)
    return document


def _convert(document: dict[str, Any], arrays: dict[str, NumberArray], hold: Callable[[int], None]) -> Slices[None]:
    inputs = document.get("inputs")
    for item in inputs if type(inputs) is list else ():
        if type(item) is not dict or "data" not in item:
            continue
        lists = _lists(item["data"], arrays)
        if lists is None:
            continue
        name, datatype, dims = item.get("name"), item.get("datatype"), _dims(item.get("shape"))
        if type(name) is str and type(datatype) is str and datatype in ITEM_SIZE and dims is not None:
            raw = yield from to_raw_in_slices(name, datatype, dims, element_count(dims, name), lists)
            hold(len(raw))
            item["data"] = RawData(raw)
        else:
            item["data"] = []  # refused for what it is, before its data are looked at


def _lists(data: Any, arrays: dict[str, NumberArray]) -> Iterable[list[Any]] | None:
    if type(data) is str and data in arrays:
        return arrays[data].slices()
    return _sliced(data) if type(data) is list else None


def _sliced(data: list[Any]) -> Iterator[list[Any]]:
    """Cut a list; long lists in it are cut as well."""
    begin = 0
    weight = 0
    for place, item in enumerate(data):
        size = len(item) if type(item) is list else 1
        if size > _SLICE:
            yield data[begin:place]
            yield from _sliced(item)
            begin, weight = place + 1, 0
        elif weight + size > _SLICE:
            yield data[begin:place]
            begin, weight = place, size
        else:
            weight += size
    yield data[begin:]


def _dims(shape: Any) -> tuple[int, ...] | None:
    return tuple(shape) if type(shape) is list and all(type(dim) is int for dim in shape) else None
