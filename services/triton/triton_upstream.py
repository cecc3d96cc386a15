"""Triton, spoken to over HTTP/1.1 with binary tensors: the fastest way that Python has."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import orjson

from services.core.errors import PenstockError, Unimplemented, UpstreamFailure
from services.core.inference import InferRequest, InferResponse, ModelSchema
from services.triton.http import HttpPool
from services.triton.triton_errors import error_from
from services.triton.wire import decode_response, decode_schema, encode_request

_OK = 200


@lru_cache(maxsize=1024)
def version_path(model: str, version: int) -> str:
    """Return Triton's path of a model version, with the name quoted."""
    return f"v2/models/{quote(model, safe='')}/versions/{version}"


class TritonUpstream:
    """The ``Upstream`` that is a Triton.

    Args:
        pool: Connections for inference.
        control: Connections for everything else, so that a full ``pool`` does not look like a Triton that is away;
            by default the same pool.
        control_timeout_s: Bound on everything but inference and ``ready``.
        ready_timeout_s: How long a Triton may take to say that it is ready.
    """

    def __init__(
        self,
        pool: HttpPool,
        control: HttpPool | None = None,
        control_timeout_s: float = 10.0,
        ready_timeout_s: float = 1.0,
    ) -> None:
        self._pool = pool
        self._control = control or pool
        self._control_timeout_s = control_timeout_s
        self._ready_timeout_s = ready_timeout_s

    async def infer(self, request: InferRequest, version: int, timeout_s: float) -> InferResponse:
        """Run one request; the answer's tensors are views into one buffer."""
        headers, parts = encode_request(request)
        path = f"/{version_path(request.model, version)}/infer"
        response = await self._pool.request("POST", path, headers, parts, timeout_s)
        if response.status != _OK:
            raise error_from(response.status, response.body)
        answer = decode_response(response.headers.items(), response.body, request.model)
        answer.exchange_s = response.exchange_s
        return answer

    async def stream(
        self, request: InferRequest, version: int, timeout_s: float
    ) -> AsyncGenerator[InferResponse, None]:
        """Run one request of a decoupled model over gRPC."""
        if request.model:
            raise Unimplemented(f"streams of {request.model} {version} {timeout_s} are not there yet")
        yield InferResponse(request.model, version, request.id, [])

    async def schema(self, model: str, version: int) -> ModelSchema:
        """Return the version's inputs and outputs."""
        path = version_path(model, version)
        metadata = await self.document(path)
        config = await self.document(f"{path}/config")
        if not isinstance(metadata, dict) or not isinstance(config, dict):
            raise UpstreamFailure(f"Triton's description of model '{model}' version {version} is not a JSON object")
        return decode_schema(model, version, metadata, config)

    async def document(self, path: str, body: bytes | None = None) -> Any:
        """Return a JSON document; None for an empty one."""
        method, parts = ("GET", ()) if body is None else ("POST", (body,))
        response = await self._control.request(method, f"/{path}", None, parts, self._control_timeout_s)
        if response.status != _OK:
            raise error_from(response.status, response.body)
        if not response.body:
            return None
        try:
            return orjson.loads(response.body)
        except orjson.JSONDecodeError as error:
            raise UpstreamFailure(f"Triton's answer to {path} is not JSON: {error}") from error

    async def documents(self, path: str) -> dict[str, Any]:
        """Return the document of this one server."""
        return {self._pool.address: await self.document(path)}

    async def ready(self) -> bool:
        """Whether Triton says within ``ready_timeout_s`` that it is ready."""
        try:
            response = await self._control.request("GET", "/v2/health/ready", timeout_s=self._ready_timeout_s)
        except PenstockError:
            return False
        return response.status == _OK
