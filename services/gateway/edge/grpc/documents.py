"""The unary methods beside inference: what the gateway says of itself and of its models, and what it keeps shut."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tritonclient.grpc import model_config_pb2, service_pb2

from services.core.errors import DeadlineExceeded, Forbidden, InvalidRequest, Unimplemented
from services.gateway.catalog import Catalog, version_number
from services.gateway.edge.grpc.call import Unary
from services.gateway.edge.grpc.site import Site
from services.gateway.edge.grpc.status import OK_TRAILERS
from services.gateway.edge.http2.connection import Connection
from services.gateway.edge.http2.stream import Stream

Behaviour = Callable[[Any], Awaitable[Any]]

_CLOSED = (
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "TraceSetting",
    "LogSettings",
)


class DocumentCall(Unary):
    """One call of such a method.

    Args:
        site: What calls share.
        connection: The client's connection.
        stream: The call's stream.
        request: The message that the method takes.
        behaviour: What it does.
    """

    __slots__ = ("_behaviour", "_request")

    def __init__(
        self, site: Site, connection: Connection, stream: Stream, request: type[Any], behaviour: Behaviour
    ) -> None:
        super().__init__(site, connection, stream)
        self._request = request
        self._behaviour = behaviour

    async def answer(self) -> None:
        """Parse, ask and answer, within the client's time."""
        message = parse(self._request, self.message, self.head.path)
        bounds_s = [self.site.limits.request_timeout_s, self.left_s()]
        timeout_s = min([bound_s for bound_s in bounds_s if bound_s is not None])
        try:
            async with asyncio.timeout(timeout_s):
                found = await self._behaviour(message)
        except TimeoutError as error:
            raise DeadlineExceeded(f"no answer within {timeout_s:.3f} s") from error
        self.send([found.SerializeToString()], OK_TRAILERS)


def parse(request: type[Any], data: Any, path: str) -> Any:
    """Parse a message.

    Raises:
        InvalidRequest: It is none.
    """
    message = request()
    try:
        message.ParseFromString(data if isinstance(data, bytes) else memoryview(data))
    except DecodeError as error:
        method = path.rpartition("/")[2]
        raise InvalidRequest(f"these {len(data)} bytes are no {method} request in protobuf: {error}") from error
    return message


class Documents:
    """``inference.GRPCInferenceService`` without inference.

    Args:
        catalog: Where documents come from.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def behaviours(self) -> dict[str, tuple[type[Any], Behaviour]]:
        """Return each method's message and what it does."""
        opened: dict[str, tuple[type[Any], Behaviour]] = {
            "ServerLive": (service_pb2.ServerLiveRequest, self._server_live),
            "ServerReady": (service_pb2.ServerReadyRequest, self._server_ready),
            "ModelReady": (service_pb2.ModelReadyRequest, self._model_ready),
            "ServerMetadata": (service_pb2.ServerMetadataRequest, self._server_metadata),
            "ModelMetadata": (service_pb2.ModelMetadataRequest, self._model_metadata),
            "ModelConfig": (service_pb2.ModelConfigRequest, self._model_config),
            "ModelStatistics": (service_pb2.ModelStatisticsRequest, self._model_statistics),
            "RepositoryIndex": (service_pb2.RepositoryIndexRequest, self._repository_index),
        }
        methods = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
        closed: dict[str, tuple[type[Any], Behaviour]] = {
            name: (getattr(service_pb2, methods[name].input_type.name), _closed) for name in _CLOSED
        }
        return opened | closed

    async def _server_live(self, _request: Any) -> Any:
        return service_pb2.ServerLiveResponse(live=True)

    async def _server_ready(self, _request: Any) -> Any:
        return service_pb2.ServerReadyResponse(ready=await self._catalog.not_ready() is None)

    async def _model_ready(self, request: Any) -> Any:
        reason = await self._catalog.model_not_ready(request.name, version_number(request.version))
        return service_pb2.ModelReadyResponse(ready=reason is None)

    async def _server_metadata(self, _request: Any) -> Any:
        return service_pb2.ServerMetadataResponse(**self._catalog.server())

    async def _model_metadata(self, request: Any) -> Any:
        document = await self._catalog.metadata(request.name, version_number(request.version))
        return _filled(service_pb2.ModelMetadataResponse(), document)

    async def _model_config(self, request: Any) -> Any:
        document = await self._catalog.configuration(request.name, version_number(request.version))
        return service_pb2.ModelConfigResponse(config=_filled(model_config_pb2.ModelConfig(), document))

    async def _model_statistics(self, request: Any) -> Any:
        document = await self._catalog.statistics(request.name or None, version_number(request.version))
        return _filled(service_pb2.ModelStatisticsResponse(), document)

    async def _repository_index(self, request: Any) -> Any:
        if request.repository_name:
            raise Unimplemented("there is one repository, which has no name; leave 'repository_name' out")
        models = await self._catalog.index(ready_only=request.ready)
        return _filled(service_pb2.RepositoryIndexResponse(), {"models": models})


def _filled(message: Any, document: Any) -> Any:
    return json_format.ParseDict(document, message, ignore_unknown_fields=True)


async def _closed(_request: Any) -> Any:
    raise Forbidden(
        "models are loaded by the controller, and shared memory, tracing and logging are the operator's: "
        "the gateway does not open them to clients"
    )
