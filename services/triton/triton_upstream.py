"""Triton, spoken to over HTTP/1.1 with binary tensors: the fastest way that Python has. Streams go over gRPC."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from functools import lru_cache, partial
from time import perf_counter
from typing import Any
from urllib.parse import quote

import orjson

from services.core.errors import InvalidRequest, PenstockError, Unimplemented, UpstreamFailure
from services.core.inference import InferRequest, InferResponse, ModelSchema
from services.triton.faults import AllBusy, Nonsense, NotSent
from services.triton.grpc_stream import GrpcStreams
from services.triton.http import Heir, HttpPool, HttpResponse
from services.triton.merging.settings import MergeSettings
from services.triton.shared_memory.region import InMemory, Region
from services.triton.triton_errors import error_from
from services.triton.wire import decode_response, decode_schema, encode_request

_OK = 200
_US_PER_S = 1_000_000
_MAX_TIMEOUT_US = (1 << 63) - 1
_TRACEPARENT = re.compile(r"[0-9a-f-]{55,128}")
_BINARY = {"Content-Type": "application/octet-stream"}


@lru_cache(maxsize=1024)
def version_path(model: str, version: int) -> str:
    """Return Triton's path of a model version, with the name quoted."""
    return f"v2/models/{quote(model, safe='')}/versions/{version}"


class TritonUpstream:
    """The ``Serving`` that is one Triton.

    Args:
        pool: Connections for inference.
        control: Connections for everything else, so that a full ``pool`` does not look like a Triton that is away;
            by default the same pool.
        control_timeout_s: Bound on everything but inference and ``ready``.
        ready_timeout_s: How long a Triton may take to say that it is ready.
        streams: How decoupled models are reached; without it they are not served. Whoever made it closes it.
        merging: What schemas say of merging; None for never.
        region: The memory that this Triton shares with us; None for none.
    """

    def __init__(
        self,
        pool: HttpPool,
        control: HttpPool | None = None,
        control_timeout_s: float = 10.0,
        ready_timeout_s: float = 1.0,
        streams: GrpcStreams | None = None,
        *,
        merging: MergeSettings | None = None,
        region: Region | None = None,
    ) -> None:
        self._pool = pool
        self._control = control or pool
        self._control_timeout_s = control_timeout_s
        self._ready_timeout_s = ready_timeout_s
        self._streams = streams
        self._merging = merging
        self._region = region
        self._opening = lru_cache(maxsize=1024)(self._new_opening)

    async def infer(self, request: InferRequest, version: int, timeout_s: float) -> InferResponse:
        """Run one request; the answer's tensors are views into one buffer."""
        return await self.attempt(request, version, timeout_s, timeout_s)

    async def attempt(
        self,
        request: InferRequest,
        version: int,
        timeout_s: float,
        left_s: float,
        *,
        resend: bool = True,
        group: object = None,
        heir: Heir | None = None,
        by_memory: bool = True,
    ) -> InferResponse:
        """Run one request as one attempt of several; errors as in ``infer``, by the kinds in ``faults``.

        Args:
            request: The request.
            version: The version.
            timeout_s: Bound on this attempt.
            left_s: Time that the request has in all, which Triton is told.
            resend: Whether to send again what a reused connection may have lost.
            group: What ``HttpPool.give_up`` knows this attempt by.
            by_memory: Whether large inputs may go through shared memory.
            heir: Told of the request while Triton works on it and nobody waits for it any more.
        """
        opening = self._opening(request.model, version)
        exchange = partial(self._pool.exchange, opening, resend=resend, group=group, heir=heir)
        memory = None if self._region is None or not by_memory else self._region.place(request)
        if memory is not None and self._region is not None:
            begun = perf_counter()
            response = await _through_memory(exchange, request, timeout_s, left_s, memory)
            if not self._region.lost(response.status, response.body):
                return self._answer(request, version, response)
            passed_s = perf_counter() - begun
            timeout_s, left_s = timeout_s - passed_s, left_s - passed_s
        response = await exchange(*_message(request, left_s, None), timeout_s)
        return self._answer(request, version, response)

    def _answer(self, request: InferRequest, version: int, response: HttpResponse) -> InferResponse:
        if response.status != _OK:
            raise error_from(response.status, response.body)
        answer = decode_response(response.headers, response.body, request)
        if answer.version != version:
            raise Nonsense(
                f"version {version} of model '{request.model}' was asked, and version {answer.version} answered"
            )
        answer.replica = self._pool.address
        answer.exchange_s = response.exchange_s
        return answer

    async def stream(
        self, request: InferRequest, version: int, timeout_s: float, *, group: object = None
    ) -> AsyncGenerator[InferResponse, None]:
        """Run one request of a decoupled model over gRPC; ``group`` as in ``attempt``."""
        if self._streams is None:
            raise Unimplemented(f"no gRPC address of {self._pool.address} is known, so it serves no decoupled models")
        async with aclosing(self._streams.stream(request, version, timeout_s, group=group)) as responses:
            async for response in responses:
                response.replica = self._pool.address
                yield response

    async def schema(self, model: str, version: int) -> ModelSchema:
        """Return the version's inputs and outputs."""
        path = version_path(model, version)
        metadata = await self.document(path)
        config = await self.document(f"{path}/config")
        if not isinstance(metadata, dict) or not isinstance(config, dict):
            raise UpstreamFailure(f"Triton's description of model '{model}' version {version} is not a JSON object")
        return decode_schema(model, version, metadata, config, self._merging)

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
            raise Nonsense(f"Triton's answer to {path} is not JSON: {error}") from error

    async def documents(self, path: str) -> dict[str, Any]:
        """Return the document of this one server."""
        return {self._pool.address: await self.document(path)}

    async def ready(self) -> bool:
        """Whether Triton says within ``ready_timeout_s`` that it is ready."""
        try:
            return await self.says_ready(self._ready_timeout_s)
        except PenstockError:
            return False

    async def says_ready(self, timeout_s: float) -> bool:
        """Whether Triton says that it is ready; raises as ``infer`` for one that says nothing.

        It is asked on a new connection: after SIGTERM a Triton serves its old connections as if nothing were, ready
        included, and closes every new one.
        """
        response = await self._control.request("GET", "/v2/health/ready", timeout_s=timeout_s, fresh=True)
        return response.status == _OK

    def _new_opening(self, model: str, version: int) -> bytes:
        return self._pool.opening("POST", f"/{version_path(model, version)}/infer", _BINARY)


def _message(request: InferRequest, left_s: float, memory: InMemory | None) -> tuple[bytes, list[bytes | memoryview]]:
    """Return the header lines and the body of a request."""
    head_bytes, parts = encode_request(request, min(int(left_s * _US_PER_S) or 1, _MAX_TIMEOUT_US), memory)
    lines = b"Inference-Header-Content-Length: %d\r\n" % head_bytes
    if request.traceparent and _TRACEPARENT.fullmatch(request.traceparent):
        lines += b"traceparent: %b\r\n" % request.traceparent.encode()
    return lines, parts


async def _through_memory(
    exchange: Callable[..., Coroutine[Any, Any, HttpResponse]],
    request: InferRequest,
    timeout_s: float,
    left_s: float,
    memory: InMemory,
) -> HttpResponse:
    """Make an exchange whose large inputs are in shared memory, and let go of it as soon as Triton has."""
    try:
        lines, parts = _message(request, left_s, memory)
        response = await exchange(lines, parts, timeout_s)
    except (NotSent, AllBusy, InvalidRequest):
        memory.free()
        raise
    except BaseException:
        memory.rest()
        raise
    memory.free()
    return response
