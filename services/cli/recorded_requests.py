"""Recorded inputs as REST bodies: rows of an npz file, or whole request bodies, one to a line."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from services.core.errors import ConfigurationError
from services.core.inference import TensorSpec

LABELS = "labels"
_DTYPES: dict[str, npt.DTypeLike] = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
    "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_BYTES = "BYTES"
# What a file that is no npz file, or a damaged one, has NumPy and its zip reader raise.
_NO_NPZ = (OSError, ValueError, EOFError, RuntimeError, MemoryError, AttributeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True)
class Body:
    """One request.

    Attributes:
        data: JSON, and behind it the bytes of tensors.
        json_size: Length of the JSON, bytes.
    """

    data: bytes
    json_size: int


def recorded(path: Path, model: str, inputs: tuple[TensorSpec, ...]) -> Iterator[Body]:
    """Yield the requests of a file, each once, in its order.

    Args:
        path: ``*.npz``: one array for each input, a request for each item of the first dimension; ``labels`` are left
            out. Anything else: the JSON bodies of inference requests, one to a line.
        model: Whose inputs they are.
        inputs: These, batch dimension first where the model has one.

    Raises:
        ConfigurationError: The file cannot be read, or not a second time, has no request, or one in it is none.
    """
    _expect_regular(path)
    return _rows(path, model, inputs) if path.suffix == ".npz" else _lines(path)


def _expect_regular(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _unread(path, error) from error
    if not stat.S_ISREG(mode):
        raise ConfigurationError(
            f"{path}: is no regular file, and is read once to be checked and again to be sent; write what comes out of "
            "a pipe into a file first"
        )


def _lines(path: Path) -> Iterator[Body]:
    any_request = False
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if text := line.strip():
                    yield _line(path, number, text)
                    any_request = True
    except OSError as error:
        raise _unread(path, error) from error
    if not any_request:
        raise ConfigurationError(
            f"{path}: is empty, but for blank lines; expected the JSON body of an inference request on each line"
        )


def _unread(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"{path}: cannot be read ({error.strerror}); give recorded requests")


def _line(path: Path, number: int, text: bytes) -> Body:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigurationError(f"{path}:{number}: is no JSON ({error}); expected an inference request") from error
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), list):
        raise ConfigurationError(f"{path}:{number}: has no list 'inputs'; expected the body of an inference request")
    return Body(text, len(text))


def _rows(path: Path, model: str, inputs: tuple[TensorSpec, ...]) -> Iterator[Body]:
    arrays = _arrays(path)
    if len(arrays) == len(inputs) == 1:
        arrays = {inputs[0].name: next(iter(arrays.values()))}
    wanted = {spec.name for spec in inputs if not spec.optional}
    known = {spec.name: spec for spec in inputs}
    if not wanted <= set(arrays) <= set(known):
        held, taken = ", ".join(sorted(arrays)) or "nothing", ", ".join(sorted(known))
        raise ConfigurationError(f"{path}: holds {held}, but {model} takes {taken}")
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) != 1:
        raise ConfigurationError(f"{path}: the arrays have {counts} items; expected the same number of each")
    if not all(counts.values()):
        raise ConfigurationError(f"{path}: {', '.join(sorted(counts))} without a single item; expected one per request")
    cast = {name: _cast(path, model, known[name], array) for name, array in arrays.items()}
    return (_row(known, cast, number) for number in range(next(iter(counts.values()))))


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ConfigurationError(f"{path}: is a single array (npy); expected an npz file, as numpy.savez writes it")
        with archive:
            arrays: dict[str, Any] = {name: archive[name] for name in archive if name != LABELS}
    except _NO_NPZ as error:
        raise ConfigurationError(f"{path}: cannot be read as an npz file ({error})") from error
    # What is in the archive and no array comes as bytes.
    if strange := sorted(name for name, array in arrays.items() if not isinstance(array, np.ndarray)):
        raise ConfigurationError(f"{path}: holds {', '.join(strange)}, which is no array; expected arrays alone")
    scalars = sorted(name for name, array in arrays.items() if not array.ndim)
    if not arrays or scalars:
        found = f"{', '.join(scalars)} without a dimension" if scalars else "no array"
        raise ConfigurationError(f"{path}: has {found}; expected an array for each input, a request for each item")
    return arrays


def _cast(path: Path, model: str, spec: TensorSpec, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array with the dimensions of a request from its second one on, in the model's datatype."""
    rows = array[:, np.newaxis] if len(spec.dims) == array.ndim else array
    fits = all(dim in (-1, size) for dim, size in zip(spec.dims, rows.shape[1:], strict=False))
    text = spec.datatype == _BYTES and array.dtype.kind in "SU"
    dtype = _DTYPES.get(spec.datatype)
    numeric = dtype is not None and np.can_cast(array.dtype, dtype, "same_kind")
    if rows.ndim != len(spec.dims) + 1 or not fits or not (text or numeric):
        raise ConfigurationError(
            f"{path}: '{spec.name}' is {array.dtype} {list(array.shape)}, but {model} takes {spec.datatype} "
            f"{list(spec.dims)}: one item of the file for each request"
        )
    return rows if text else np.ascontiguousarray(rows, dtype)


def _row(specs: Mapping[str, TensorSpec], arrays: Mapping[str, npt.NDArray[Any]], number: int) -> Body:
    pieces = {name: _bytes(array[number]) for name, array in arrays.items()}
    head = orjson.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "datatype": specs[name].datatype,
                    "shape": arrays[name].shape[1:],
                    "parameters": {"binary_data_size": len(piece)},
                }
                for name, piece in pieces.items()
            ]
        }
    )
    return Body(b"".join((head, *pieces.values())), len(head))


def _bytes(row: npt.NDArray[Any]) -> bytes:
    if row.dtype.kind not in "SU":
        return row.tobytes()
    texts = [one if isinstance(one, bytes) else str(one).encode() for one in row.ravel().tolist()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
