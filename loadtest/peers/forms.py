"""The same row as each server takes it over REST, and how its answer is read."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from loadtest.bench.model import SMALL
from loadtest.payload import INFERENCE_HEADER

JSON = "JSON"
BINARY = "binary"
INFER_PATH = f"/v2/models/{SMALL.name}/infer"

Row = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Form:
    """One way to send a row.

    Attributes:
        body: ``JSON`` or ``binary``.
        path: Where it is posted.
        encode: Row to headers and body.
        decode: Headers (lower case) and body of an answer to a row; raises ``ValueError`` and its like.
    """

    body: str
    path: str
    encode: Callable[[Row], tuple[dict[str, str], bytes]]
    decode: Callable[[Mapping[str, str], bytes], Row]


def rows(path: str, *, nested: bool, answer: str | None) -> Form:
    """Return plain JSON ``{"x": [...]}``, the natural form of servers without a protocol of their own.

    Args:
        path: Where it is posted.
        nested: Whether x is a batch of one row.
        answer: Key of the answer's row; None where the answer is the batch itself.
    """

    def encode(row: Row) -> tuple[dict[str, str], bytes]:
        return _JSON_HEADERS, _dumps({"x": row[np.newaxis] if nested else row})

    def decode(_headers: Mapping[str, str], body: bytes) -> Row:
        document = orjson.loads(body)
        values = np.asarray(document if answer is None else document[answer], np.float32)
        return values[0] if nested else values

    return Form(JSON, path, encode, decode)


def _encode_json(row: Row) -> tuple[dict[str, str], bytes]:
    tensor = {"name": "x", "shape": [1, row.size], "datatype": "FP32", "data": row}
    return _JSON_HEADERS, _dumps({"inputs": [tensor]})


def _decode_json(_headers: Mapping[str, str], body: bytes) -> Row:
    (output,) = orjson.loads(body)["outputs"]
    return np.asarray(output["data"], np.float32)


def _encode_binary(row: Row) -> tuple[dict[str, str], bytes]:
    data = row.astype("<f4").tobytes()
    tensor = {"name": "x", "shape": [1, row.size], "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}
    head = _dumps({"inputs": [tensor], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]})
    headers = {"Content-Type": "application/octet-stream", INFERENCE_HEADER: str(len(head))}
    return headers, head + data


def _decode_binary(headers: Mapping[str, str], body: bytes) -> Row:
    size = int(headers[INFERENCE_HEADER])
    (output,) = orjson.loads(body[:size])["outputs"]
    if output["parameters"]["binary_data_size"] != len(body) - size:
        raise ValueError(f"{len(body) - size} bytes of tensor, announced as {output['parameters']}")
    return np.array(struct.unpack(f"<{(len(body) - size) // 4}f", body[size:]), np.float32)


def _dumps(document: Any) -> bytes:
    # The shortest text of each float32: every server reads the same characters.
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


_JSON_HEADERS = {"Content-Type": "application/json"}
V2_JSON = Form(JSON, INFER_PATH, _encode_json, _decode_json)
V2_BINARY = Form(BINARY, INFER_PATH, _encode_binary, _decode_binary)
