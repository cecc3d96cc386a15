"""The gRPC server of one worker: inference, health, reflection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tritonclient.grpc import service_pb2_grpc

from services.core.errors import ConfigurationError, InvalidRequest
from services.gateway.edge.grpc.health import INFERENCE_SERVICE, HealthServicer
from services.gateway.edge.grpc.malformed import refusing_malformed
from services.gateway.edge.grpc.servicer import InferenceServicer

_HEADERS_BYTES = 16 * 1024


class _Unregistered:
    """Gives a server's services their handlers without registering each method with gRPC's core.

    For every registered method the server waits for a call of its own, and for every call that comes it goes through
    all that it waits for: with the 20 methods of Triton's service this costs 7 us per call (grpcio 1.85,
    ``_server_main_loop``). Unregistered methods are found by name, in one dictionary.
    """

    def __init__(self, server: Any, note: Callable[[str, InvalidRequest], None]) -> None:
        self._server = server
        self._note = note

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Leave them out; generated code hands the same ones over by name."""

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """Add handlers that are found by name, and that refuse what they cannot parse."""
        safe = {name: refusing_malformed(name, handler, self._note) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, safe),))


class GrpcServer:
    """One gRPC server.

    Args:
        inference: The inference service.
        health: The health service.
        host: Address to listen on.
        port: Port to listen on, shared with the other workers; 0 for a free one.
        max_message_bytes: Largest request; gRPC refuses larger ones with RESOURCE_EXHAUSTED while it reads them.
    """

    def __init__(
        self, inference: InferenceServicer, health: HealthServicer, host: str, port: int, *, max_message_bytes: int
    ) -> None:
        self._server = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", _HEADERS_BYTES),
                # Clients may ping a quiet connection every 10 s, and it counts as alive while they do.
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
            )
        )
        services = _Unregistered(self._server, inference.malformed)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference, services)
        health_pb2_grpc.add_HealthServicer_to_server(health, services)
        health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection((INFERENCE_SERVICE, health_name, reflection.SERVICE_NAME), self._server)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self._port: int = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise ConfigurationError(f"cannot listen on {address} for gRPC: {error}; choose another port") from error

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    async def start(self) -> None:
        """Accept connections."""
        await self._server.start()

    async def stop(self, drain_s: float) -> None:
        """Take no new call, give the ones in flight ``drain_s`` seconds, then end them."""
        await self._server.stop(drain_s)
