"""ModelInfer: one gRPC request as the pipeline sees it, and how an error reaches a gRPC client."""

from __future__ import annotations

from typing import Any, NoReturn
from urllib.parse import quote

import grpc

from services.core.errors import Overloaded, PenstockError, Unavailable, status_of
from services.core.inference import InferRequest
from services.gateway.edge.grpc.codec import decode, encode
from services.gateway.edge.words import words_of
from services.gateway.pipeline import Pipeline, Served

PROTOCOL = "grpc"
ROUTING_KEY = "penstock-routing-key"
VERSION = "penstock-model-version"
ROLE = "penstock-role"

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_MS_PER_S = 1000
# gRPC sends words as metadata, of which clients take 8 KiB, each byte that is not printable ASCII as three.
_MAX_ENCODED_BYTES = 6 * 1024
_UNESCAPED = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


class GrpcCall:
    """One ``ModelInfer`` call."""

    __slots__ = ("_context", "_message", "model", "protocol", "traceparent")

    def __init__(self, message: Any, context: Any) -> None:
        self.protocol = PROTOCOL
        self.traceparent = ""
        self.model: str = message.model_name
        self._message = message
        self._context = context

    def decode(self) -> InferRequest:
        """Turn the message, the deadline and the metadata into a request."""
        request = decode(self._message)
        request.deadline_s = self._context.time_remaining()
        for name, value in self._context.invocation_metadata() or ():
            if name == ROUTING_KEY:
                request.key = value or None
        return request

    def encode(self, served: Served) -> Any:
        """Return the message of the answer, and name the version in the trailing metadata."""
        self._context.set_trailing_metadata(((VERSION, str(served.response.version)), (ROLE, str(served.role))))
        return encode(served)


async def infer(pipeline: Pipeline, message: Any, context: Any) -> Any:
    """Answer one call; ends the call with the error's status when it fails."""
    try:
        return await pipeline.serve(GrpcCall(message, context))
    except PenstockError as error:
        await refuse(context, error)


async def refuse(context: Any, error: PenstockError) -> NoReturn:
    """End a call with an error's status and words; gRPC clients with a retry policy heed the push-back."""
    trailing: tuple[tuple[str, str], ...] = ()
    if isinstance(error, Overloaded | Unavailable):
        trailing = (("grpc-retry-pushback-ms", str(round(error.retry_after_s * _MS_PER_S))),)
    await context.abort(_CODES[status_of(error).grpc], _transportable(words_of(error)), trailing)
    raise AssertionError("abort always raises")


def _transportable(words: str) -> str:
    if len(quote(words, safe=_UNESCAPED)) <= _MAX_ENCODED_BYTES:
        return words
    return words.encode("ascii", "replace").decode()
