"""``inference.GRPCInferenceService``: inference through the pipeline, documents from the catalog, the rest shut."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, NoReturn, TypeVar

from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from services.core.errors import Forbidden, InvalidRequest, PenstockError, Unimplemented
from services.gateway.catalog import Catalog, version_number
from services.gateway.edge.grpc.infer import PROTOCOL, infer, refuse
from services.gateway.pipeline import Pipeline

Result = TypeVar("Result")

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


class InferenceServicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # generated, untyped
    """The service of one worker.

    Args:
        pipeline: Where inference goes.
        catalog: Where documents come from.
    """

    def __init__(self, pipeline: Pipeline, catalog: Catalog) -> None:
        self._pipeline = pipeline
        self._catalog = catalog

    def malformed(self, method: str, error: InvalidRequest) -> None:
        """Count an inference request that is no message of the protocol; which model it was for, nobody knows."""
        if method == "ModelInfer":
            self._pipeline.refused(PROTOCOL, "", error)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the protocol from here on
        """Run one request."""
        return await infer(self._pipeline, request, context)

    async def ServerLive(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Say that the process is alive."""
        return service_pb2.ServerLiveResponse(live=True)

    async def ServerReady(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Say whether requests should be sent here."""
        return service_pb2.ServerReadyResponse(ready=await self._catalog.not_ready() is None)

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Say whether a model can answer."""
        version = await self._version(request.version, context)
        reason = await self._catalog.model_not_ready(request.name, version)
        return service_pb2.ModelReadyResponse(ready=reason is None)

    async def ServerMetadata(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Say who answers."""
        return service_pb2.ServerMetadataResponse(**self._catalog.server())

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return a model's interface."""
        version = await self._version(request.version, context)
        document = await _or_refuse(self._catalog.metadata(request.name, version), context)
        return json_format.ParseDict(document, service_pb2.ModelMetadataResponse(), ignore_unknown_fields=True)

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return a model's configuration."""
        version = await self._version(request.version, context)
        document = await _or_refuse(self._catalog.configuration(request.name, version), context)
        config = json_format.ParseDict(document, model_config_pb2.ModelConfig(), ignore_unknown_fields=True)
        return service_pb2.ModelConfigResponse(config=config)

    async def ModelStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return Triton's statistics."""
        version = await self._version(request.version, context)
        document = await _or_refuse(self._catalog.statistics(request.name or None, version), context)
        return json_format.ParseDict(document, service_pb2.ModelStatisticsResponse(), ignore_unknown_fields=True)

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return the models of Triton's repository."""
        models = await _or_refuse(self._catalog.index(ready_only=request.ready), context)
        return json_format.ParseDict(
            {"models": models}, service_pb2.RepositoryIndexResponse(), ignore_unknown_fields=True
        )

    async def ModelStreamInfer(self, _requests: Any, context: Any) -> None:  # noqa: N802
        """Refuse: streams are not served yet."""
        await refuse(context, Unimplemented("ModelStreamInfer is not served; call ModelInfer once for each request"))

    async def _version(self, text: str, context: Any) -> int | None:
        try:
            return version_number(text)
        except PenstockError as error:
            await refuse(context, error)


async def _or_refuse(document: Awaitable[Result], context: Any) -> Result:
    try:
        return await document
    except PenstockError as error:
        await refuse(context, error)


async def _closed(_servicer: InferenceServicer, _request: Any, context: Any) -> NoReturn:
    await refuse(
        context,
        Forbidden(
            "models are loaded by the controller, and shared memory, tracing and logging are the operator's: "
            "the gateway does not open them to clients"
        ),
    )


for _name in _CLOSED:
    setattr(InferenceServicer, _name, _closed)
