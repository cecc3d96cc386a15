"""What came back, in a form that can be compared, and how it is fetched from either side."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc
import numpy as np
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from services.core.errors import PenstockError
from services.triton.http import HttpPool
from tests.differential.asks import NUMPY, texts_to_raw
from tests.differential.grpc_forms import GrpcRequest
from tests.differential.rest import RestRequest

SERVICE = "/inference.GRPCInferenceService/"
_PATIENCE_S = 8.0

# What a status means to a client, whatever the protocol calls it.
HTTP_CATEGORY = {
    200: "ok", 400: "invalid", 403: "forbidden", 404: "not found", 405: "method", 413: "too large", 415: "coding",
    429: "overloaded", 500: "failed", 501: "unimplemented", 503: "unavailable", 504: "deadline",
}  # fmt: skip
GRPC_CATEGORY = {
    0: "ok", 1: "cancelled", 2: "unknown", 3: "invalid", 4: "deadline", 5: "not found", 6: "exists", 7: "forbidden",
    8: "overloaded", 12: "unimplemented", 13: "failed", 14: "unavailable",
}  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """One answer.

    Attributes:
        category: A value of ``HTTP_CATEGORY`` or ``GRPC_CATEGORY``, or ``no answer: ...``.
        words: The error's words; free to differ.
        content: Names, datatypes, shapes, bytes, ids, versions, parameters and forms; None for an error.
    """

    category: str
    words: str = ""
    content: Any = None


def _tensor_bytes(datatype: str, data: list[Any]) -> bytes:
    if datatype == "BYTES":
        return texts_to_raw([str(text).encode("utf-8", "surrogatepass") for text in data])
    return np.array(data, "?" if datatype == "BOOL" else NUMPY.get(datatype, "<u2")).tobytes()


def read_http(headers: Mapping[bytes, bytes], body: bytes) -> Any:
    """Return what an answer of status 200 says."""
    coding = headers.get(b"content-encoding", b"identity").decode()
    body = gzip.decompress(body) if coding == "gzip" else zlib.decompress(body) if coding == "deflate" else body
    length = int(headers.get(b"inference-header-content-length", len(body)))
    try:
        document = json.loads(body[:length]) if body else None
    except UnicodeDecodeError:
        return {"no text": body}
    if not (isinstance(document, dict) and "outputs" in document and "model_name" in document):
        return {"document": _without_numbers(document), "coding": coding}
    offset = length
    for output in document["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        output["form"] = "JSON" if size is None else "binary"
        if size is None:
            output["data"] = _tensor_bytes(output["datatype"], output["data"])
        else:
            output["data"] = body[offset : offset + size]
            offset += size
    return {"answer": document, "coding": coding, "rest": body[offset:]}


def _without_numbers(document: Any) -> Any:
    """Return a document with the numbers of its statistics taken out: each side counts what it saw."""
    if not (isinstance(document, dict) and "model_stats" in document):
        return document
    return {
        "model_stats": [{key: row[key] for key in ("name", "version") if key in row} for row in document["model_stats"]]
    }


def read_grpc(method: str, data: bytes) -> Any:
    """Return what one message of an answer says."""
    names = {"ModelInfer": "ModelInferResponse", "ModelStreamInfer": "ModelStreamInferResponse"}
    found = getattr(service_pb2, names.get(method, f"{method}Response"))()
    try:
        found.ParseFromString(data)
    except DecodeError:
        return {"no message": data}
    return _without_numbers(json_format.MessageToDict(found, preserving_proto_field_name=True))


def _by_request(responses: list[Any]) -> list[Any]:
    """Return the responses of a stream by the id of their request: only among those is there an order.

    Of an error the id counts; what else Triton says beside its words depends on who found it.
    """
    for response in responses:
        if "error_message" in response:
            response["error_message"] = "in words"
            response["infer_response"] = {"id": response.get("infer_response", {}).get("id")}
    return sorted(responses, key=lambda response: str(response.get("infer_response", {}).get("id", "")))


class Side:
    """A Triton or a gateway."""

    def __init__(self, http_port: int, grpc_port: int) -> None:
        self._pool = HttpPool("127.0.0.1", http_port)
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}")

    async def aclose(self) -> None:
        await self._pool.aclose()
        await self._channel.close()

    async def ask(self, request: RestRequest | GrpcRequest) -> Seen:
        """Send one request and read the whole answer."""
        if isinstance(request, RestRequest):
            return await self._http(request)
        return await self._grpc(request)

    async def apart(self, request: RestRequest | GrpcRequest) -> Seen:
        """Send each message of a stream in a stream of its own, and return all answers as of one."""
        assert isinstance(request, GrpcRequest)
        seen = [await self.ask(replace(request, messages=(message,))) for message in request.messages]
        broken = [one for one in seen if one.category != "ok"]
        return broken[0] if broken else Seen("ok", content=_by_request([row for one in seen for row in one.content]))

    async def _http(self, request: RestRequest) -> Seen:
        try:
            response = await self._pool.request(
                request.method, request.path, dict(request.headers), (request.body,), _PATIENCE_S
            )
        except PenstockError as error:
            return Seen(f"no answer: {type(error).__name__}")
        category = HTTP_CATEGORY.get(response.status, str(response.status))
        if category == "ok":
            return Seen(category, content=read_http(response.headers, response.body))
        return Seen(category, response.body.decode("utf-8", "replace"))

    async def _grpc(self, request: GrpcRequest) -> Seen:
        seen: list[Any] = []
        try:
            async with asyncio.timeout(_PATIENCE_S):
                if request.method == "ModelStreamInfer":
                    stream = self._channel.stream_stream(SERVICE + request.method)
                    seen = [read_grpc(request.method, data) async for data in stream(iter(request.messages))]
                    seen = _by_request(seen)
                else:
                    data = await self._channel.unary_unary(SERVICE + request.method)(request.messages[0])
                    seen.append(read_grpc(request.method, data))
        except grpc.aio.AioRpcError as error:
            category = GRPC_CATEGORY.get(error.code().value[0], str(error.code()))
            return Seen(category, error.details() or "", seen or None)
        except TimeoutError:
            return Seen("no answer: TimeoutError", content=seen)
        return Seen("ok", content=seen)


@asynccontextmanager
async def connected(http_port: int, grpc_port: int) -> AsyncIterator[Side]:
    """Connect to one side."""
    side = Side(http_port, grpc_port)
    try:
        yield side
    finally:
        await side.aclose()
