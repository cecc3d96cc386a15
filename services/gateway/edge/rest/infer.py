"""The REST hot path: ``POST /v2/models/{model}[/versions/{version}]/infer`` as a plain ASGI callable.

Everything else of the protocol goes to the application behind it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from services.core.errors import InvalidRequest, PenstockError, UnsupportedEncoding
from services.core.inference import InferRequest
from services.gateway.catalog import version_number
from services.gateway.edge.rest.asgi import ASGIApp, Receive, Scope, Send
from services.gateway.edge.rest.body import BodyReader, ClientGoneError, linger
from services.gateway.edge.rest.request import Forms, parse
from services.gateway.edge.rest.response import Reply, encode, error_reply
from services.gateway.pipeline import Pipeline, Served

PROTOCOL = "rest"
ROUTING_KEY_HEADER = b"penstock-routing-key"
# In the scope: the task that answers, for whoever sees the connection break, and then the sign that it did.
TASK = "penstock.task"
GONE = "penstock.gone"

_CLOSE = (b"connection", b"close")
_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")


class RestCall:
    """One REST request as the pipeline sees it.

    Args:
        model: Model name from the path.
        version: Version from the path, as it is there.
        headers: The request's headers.
        body: The whole body.
    """

    __slots__ = ("_body", "_forms", "_headers", "_version", "model", "protocol", "traceparent")

    def __init__(self, model: str, version: str | None, headers: InferHeaders, body: bytes) -> None:
        self.protocol = PROTOCOL
        self.traceparent = ""
        self.model = model
        self._version = version
        self._headers = headers
        self._body = body
        self._forms = Forms(binary=False, by_output={})

    def decode(self) -> InferRequest:
        """Parse the path, the headers and the body."""
        version = version_number(self._version or "")
        header_length = _number(self._headers.header_length, "Inference-Header-Content-Length")
        request, self._forms = parse(self.model, version, self._body, header_length)
        request.key = self._headers.key
        return request

    def encode(self, served: Served) -> Reply:
        """Encode the answer in the forms that the request asked for."""
        return encode(served, self._forms)


class InferHeaders:
    """The headers that an inference request is about."""

    __slots__ = ("encoding", "header_length", "key", "length")

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.length: bytes | None = None
        self.header_length: bytes | None = None
        self.key: str | None = None
        self.encoding = b"identity"
        for name, value in headers:
            if name == b"content-length":
                self.length = value
            elif name == b"inference-header-content-length":
                self.header_length = value
            elif name == ROUTING_KEY_HEADER:
                self.key = value.decode("utf-8", "backslashreplace") or None
            elif name == b"content-encoding":
                self.encoding = value.lower()


class InferEdge:
    """Answers inference requests and hands every other request on.

    Args:
        pipeline: Where requests go.
        bodies: How bodies are read.
        others: The application for everything else.
        draining: Whether this worker is on its way out: then every answer asks the client to close its connection.
    """

    def __init__(self, pipeline: Pipeline, bodies: BodyReader, others: ASGIApp, draining: Callable[[], bool]) -> None:
        self._pipeline = pipeline
        self._bodies = bodies
        self._others = others
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection scope."""
        path = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if path is None:
            await self._others(scope, receive, send)
            return
        model: str = path[1]
        scope[TASK] = asyncio.current_task()
        try:
            headers = InferHeaders(scope["headers"])
            try:
                body = await self._body(headers, receive)
            except PenstockError as error:
                self._pipeline.refused(PROTOCOL, model, error)
                await _refuse_unread(error_reply(error), receive, send)
                return
            reply = await self._answer(RestCall(model, path[2], headers, body))
        except ClientGoneError:
            return
        except asyncio.CancelledError:
            if GONE in scope:
                return  # the one who cancelled was the client, by closing the connection
            raise
        finally:
            scope[TASK] = None
        if self._draining():
            reply.headers.append(_CLOSE)
        await _send(reply, send)

    async def _body(self, headers: InferHeaders, receive: Receive) -> bytes:
        if headers.encoding not in (b"identity", b""):
            raise UnsupportedEncoding(
                f"Content-Encoding is {headers.encoding.decode('latin-1')!r}; send the body uncompressed"
            )
        return await self._bodies.read(receive, _number(headers.length, "Content-Length"))

    async def _answer(self, call: RestCall) -> Reply:
        try:
            return await self._pipeline.serve(call)
        except PenstockError as error:
            return error_reply(error)


def _number(text: bytes | None, header: str) -> int | None:
    if text is None:
        return None
    if not text.isdigit() or len(text) > 19:  # noqa: PLR2004 - 64 bits
        raise InvalidRequest(f"{header} is {text.decode('latin-1')[:40]!r}; expected a number of bytes")
    return int(text)


async def _send(reply: Reply, send: Send) -> None:
    await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
    parts = reply.parts
    for part in parts[:-1]:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": parts[-1]})


async def _refuse_unread(reply: Reply, receive: Receive, send: Send) -> None:
    """Answer before the body was read, let the client notice, and close: the body is on the same connection."""
    headers = [*reply.headers, _CLOSE]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"".join(reply.parts), "more_body": True})
    await linger(receive)
    await send({"type": "http.response.body", "body": b""})
