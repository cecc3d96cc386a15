"""The controller's gRPC server: the control protocol, rollouts, health and reflection."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.controller.api.grpc_services import FeedbackService, RouteService, StatisticsService
from services.controller.api.rollout_service import RolloutService
from services.core.errors import ConfigurationError
from services.pb.penstock.v1 import (
    feedback_pb2,
    feedback_pb2_grpc,
    rollouts_pb2,
    rollouts_pb2_grpc,
    routes_pb2,
    routes_pb2_grpc,
    statistics_pb2,
    statistics_pb2_grpc,
)
from services.process.ports import ensure_free

_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    # Without this a second controller would share the port, and workers would report to either.
    ("grpc.so_reuseport", 0),
    # A worker that is gone without a word ends its stream within half a minute.
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.keepalive_permit_without_calls", 1),
]
_MAX_CALLS = 4096
_GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class Services:
    """The route watch, the sinks of statistics and of outcomes, and the rollouts."""

    routes: RouteService
    statistics: StatisticsService
    feedback: FeedbackService
    rollouts: RolloutService


class GrpcServer:
    """Serves from ``start`` to ``stop``.

    Args:
        services: What is served.
        host: Address to listen on.
        port: Port to listen on; 0 chooses a free one.

    Raises:
        ConfigurationError: The port cannot be had.
    """

    def __init__(self, services: Services, host: str, port: int) -> None:
        ensure_free(host, port, "the controller's gRPC port")
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_MAX_CALLS)
        self._health = health.aio.HealthServicer()
        routes_pb2_grpc.add_RouteServiceServicer_to_server(services.routes, self._server)
        statistics_pb2_grpc.add_StatisticsServiceServicer_to_server(services.statistics, self._server)
        feedback_pb2_grpc.add_FeedbackServiceServicer_to_server(services.feedback, self._server)
        rollouts_pb2_grpc.add_RolloutServiceServicer_to_server(services.rollouts, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (
            routes_pb2.DESCRIPTOR.services_by_name["RouteService"].full_name,
            statistics_pb2.DESCRIPTOR.services_by_name["StatisticsService"].full_name,
            feedback_pb2.DESCRIPTOR.services_by_name["FeedbackService"].full_name,
            rollouts_pb2.DESCRIPTOR.services_by_name["RolloutService"].full_name,
            health.SERVICE_NAME,
            reflection.SERVICE_NAME,
        )
        reflection.enable_server_reflection(names, self._server)
        self._names = ("", *names[:4])
        try:
            self.port: int = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise ConfigurationError(
                f"cannot listen on {address} for gRPC: is the port in use? Choose another, or 0 for a free one"
            ) from error

    async def start(self) -> None:
        """Serve, and say so to health checks."""
        await self._server.start()
        for name in self._names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """Say that it is over, let calls in progress end, then stop."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(_GRACE_S)
