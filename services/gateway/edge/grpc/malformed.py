"""Requests that are no protobuf: a client's mistake, which gRPC would take for a crash of the servicer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from services.core.errors import InvalidRequest
from services.gateway.edge.grpc.infer import refuse

Note = Callable[[str, InvalidRequest], None]


def refusing_malformed(method: str, handler: Any, note: Note) -> Any:
    """Return a handler that answers INVALID_ARGUMENT to bytes that are not its message.

    Methods whose requests are streams are returned as they are; none of ours reads its stream.

    Args:
        method: Name of the method, without its service.
        handler: What generated code made.
        note: Told of each such request.
    """
    if handler.request_streaming:
        return handler
    parse = _parser(method, handler.request_deserializer)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(
            _stream(method, handler.unary_stream, note), parse, handler.response_serializer
        )
    return grpc.unary_unary_rpc_method_handler(
        _unary(method, handler.unary_unary, note), parse, handler.response_serializer
    )


def _parser(method: str, deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def parse(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as error:
            # Returned, not raised: whatever is raised here becomes UNKNOWN and a traceback in the log.
            refusal = InvalidRequest(f"these {len(data)} bytes are no {method} request in protobuf: {error}")
            refusal.__cause__ = error
            return refusal

    return parse


def _unary(method: str, behaviour: Any, note: Note) -> Any:
    async def serve(request: Any, context: Any) -> Any:
        if isinstance(request, InvalidRequest):
            note(method, request)
            await refuse(context, request)
        return await behaviour(request, context)

    return serve


def _stream(method: str, behaviour: Any, note: Note) -> Any:
    async def serve(request: Any, context: Any) -> AsyncIterator[Any]:
        if isinstance(request, InvalidRequest):
            note(method, request)
            await refuse(context, request)
        async for answer in behaviour(request, context):
            yield answer

    return serve
