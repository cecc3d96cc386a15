"""Triton's load and unload, over gRPC.

Over HTTP a load holds one of Triton's HTTP threads until it has ended, and every connection that the thread serves with
it: while a model took 5 s to load, 10 to 32 of 32 connections got no answer to their inferences for those 5 s (Triton
2.51). Over gRPC none waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import grpc
from tritonclient.grpc import service_pb2

from services.core.errors import PenstockError, Unavailable, UpstreamFailure
from services.triton.triton_errors import without_traceback

_SERVICE = "/inference.GRPCInferenceService/"
_CONNECT_TIMEOUT_S = 2.0
_OPTIONS = (
    # A channel of its own: those of one process to one address would share a connection, and its backoff.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
)


class ModelControl(Protocol):
    """What changes the models of one Triton. Adapter: ``GrpcModelControl``.

    Nothing here has a bound of its own: whoever waits bounds it, and a cancelled call does not end the load in Triton.
    """

    async def load(self, model: str, config: str) -> None:
        """Load a model as its configuration (JSON) says, and return when that has ended.

        Raises:
            UpstreamFailure: It did not load; Triton's reason.
            Unavailable: The server does not answer.
        """
        ...

    async def unload(self, model: str) -> None:
        """Begin to unload a model; errors as in ``load``."""
        ...


class GrpcModelControl:
    """The ``ModelControl`` that is Triton's gRPC endpoint. Make it on the event loop that uses it.

    Args:
        target: HOST:PORT of Triton's gRPC endpoint.
        permit: Called right before every change; raises where it may not be made.
    """

    def __init__(self, target: str, permit: Callable[[], object] = lambda: None) -> None:
        self._target = target
        self._permit = permit
        self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        self._load = self._call("RepositoryModelLoad", service_pb2.RepositoryModelLoadResponse)
        self._unload = self._call("RepositoryModelUnload", service_pb2.RepositoryModelUnloadResponse)

    async def load(self, model: str, config: str) -> None:
        """Load a model with this configuration in place of the file's."""
        request = service_pb2.RepositoryModelLoadRequest(model_name=model)
        request.parameters["config"].string_param = config
        await self._send(self._load, request)

    async def unload(self, model: str) -> None:
        """Begin to unload a model."""
        await self._send(self._unload, service_pb2.RepositoryModelUnloadRequest(model_name=model))

    async def aclose(self) -> None:
        """Close the connection; calls under way end with ``Unavailable``."""
        await self._channel.close()

    def _call(self, name: str, answer: Any) -> Any:
        return self._channel.unary_unary(
            f"{_SERVICE}{name}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=answer.FromString,
        )

    async def _send(self, call: Any, request: Any) -> None:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._channel.channel_ready()
        except TimeoutError as error:
            raise Unavailable(f"no gRPC connection to {self._target} within {_CONNECT_TIMEOUT_S:g} s") from error
        except grpc.aio.UsageError as error:
            raise Unavailable(f"the connection to {self._target} is closed") from error
        self._permit()
        try:
            await call(request)
        except grpc.aio.AioRpcError as error:
            raise _error_from(error) from error


def _error_from(error: grpc.aio.AioRpcError) -> PenstockError:
    words = without_traceback(error.details() or f"Triton answered with {error.code().name} and no explanation")
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return Unavailable(words)
    return UpstreamFailure(words)
