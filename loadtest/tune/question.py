"""The request that a model is asked again and again: rows of its held-out data, or zeros where it has none."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from loadtest.dataset import FILE_NAME
from loadtest.payload import DTYPES, INFERENCE_HEADER
from services.core.errors import ConfigurationError

_BYTES = "BYTES"


def question(config: Mapping[str, Any], folder: Path, rows: int, address: str) -> bytes:
    """Return one complete HTTP request.

    Args:
        config: The model's configuration, in Triton's JSON.
        folder: The version's folder, which may hold ``evaluation.npz``.
        rows: Rows of one request.
        address: HOST:PORT that it is for.

    Raises:
        ConfigurationError: The held-out data do not fit the model.
    """
    specs = [spec for spec in config.get("input", []) if not spec.get("optional")]
    held = _held_out(folder / FILE_NAME)
    described, pieces = [], []
    for spec in specs:
        datatype = str(spec["data_type"]).removeprefix("TYPE_").replace("STRING", _BYTES)
        dims = [int(dim) for dim in spec["dims"]]
        shape, data = _tensor(spec["name"], datatype, dims, rows, held)
        parameters = {"binary_data_size": len(data)}
        described.append({"name": spec["name"], "datatype": datatype, "shape": shape, "parameters": parameters})
        pieces.append(data)
    document = orjson.dumps({"inputs": described, "parameters": {"binary_data_output": True}})
    body = b"".join((document, *pieces))
    head = (
        f"POST /v2/models/{config['name']}/infer HTTP/1.1\r\nHost: {address}\r\n"
        f"{INFERENCE_HEADER}: {len(document)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


def _held_out(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}; build the version again") from error


def _tensor(
    name: str, datatype: str, dims: list[int], rows: int, held: Mapping[str, NDArray[Any]]
) -> tuple[list[int], bytes]:
    """Return shape and bytes of one input."""
    if datatype == _BYTES:
        shape = [rows, *(max(dim, 1) for dim in dims)]
        return shape, struct.pack("<I", 0) * int(np.prod(shape))
    if datatype not in DTYPES:
        raise ConfigurationError(f"input '{name}' is {datatype}; expected one of {', '.join(DTYPES)} or {_BYTES}")
    if name not in held:
        array = np.zeros([rows, *(max(dim, 1) for dim in dims)], DTYPES[datatype])
    else:
        array = held[name][np.arange(rows) % len(held[name])].astype(DTYPES[datatype])
        if len(dims) != array.ndim - 1 or any(
            dim not in (-1, size) for dim, size in zip(dims, array.shape[1:], strict=True)
        ):
            raise ConfigurationError(f"the held-out '{name}' is {list(array.shape)}, the model takes {[-1, *dims]}")
    return list(array.shape), np.ascontiguousarray(array).tobytes()
