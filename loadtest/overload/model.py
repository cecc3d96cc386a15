"""The model that is overloaded, and what it is asked."""

from __future__ import annotations

import orjson

from loadtest.sleeping_model import SleepingModel

NAME = "overload"
BATCH = 4
BASE_S = 0.030
ROW_S = 0.002

MODEL = SleepingModel(NAME, BATCH, BASE_S, ROW_S)


def request_bytes(address: str, deadline_s: float) -> bytes:
    """Return one complete HTTP request that has so much time."""
    body = orjson.dumps(
        {
            "parameters": {"timeout": int(deadline_s * 1e6)},
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.5]}],
        }
    )
    head = (
        f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: {address}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body
