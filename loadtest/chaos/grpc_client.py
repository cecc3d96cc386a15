"""A gRPC client on asyncio: a few channels, each with many calls at once."""

from __future__ import annotations

import itertools
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from loadtest.connection import TIMED_OUT
from loadtest.payload import Interface, Payload, read_grpc
from loadtest.record import Failure

_INFER = "/inference.GRPCInferenceService/ModelInfer"
_CHANNELS = 4
# Without a local pool all channels of a process share one connection.
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


class GrpcClient:
    """Sends requests to one address over several connections in turn; make it on the event loop that uses it.

    Nothing is retried by it. What the gRPC library itself sends again, it does for every client: calls that the server
    declared unprocessed when it closed a connection.

    Args:
        address: HOST:PORT.
    """

    def __init__(self, address: str) -> None:
        self._channels = [grpc.aio.insecure_channel(address, options=_OPTIONS) for _ in range(_CHANNELS)]
        calls: list[Any] = [
            channel.unary_unary(
                _INFER, request_serializer=None, response_deserializer=service_pb2.ModelInferResponse.FromString
            )
            for channel in self._channels
        ]
        self._turns = itertools.cycle(calls)

    async def send(self, interface: Interface, payload: Payload, timeout_s: float) -> Failure | None:
        """Send a request, check its answer, and return why it is not right."""
        try:
            response = await next(self._turns)(payload.body, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            kind = TIMED_OUT if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else f"gRPC {error.code().name}"
            return Failure(kind, error.details() or "")
        read = read_grpc(interface, response, "", payload.labels)
        if isinstance(read, Failure):
            return read
        return None if read.right == read.items else Failure("wrong answer", "another class than the label")

    async def aclose(self) -> None:
        """Close every connection."""
        for channel in self._channels:
            await channel.close()
