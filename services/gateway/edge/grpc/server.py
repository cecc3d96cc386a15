"""The gRPC server of one worker: inference, feedback, health, reflection, on our own HTTP/2 core."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial

from grpc_health.v1 import health_pb2

from services.gateway.catalog import Catalog
from services.gateway.control.feedback_desk import FeedbackDesk
from services.gateway.edge.buffer_budget import BufferBudget
from services.gateway.edge.grpc.documents import DocumentCall, Documents
from services.gateway.edge.grpc.feedback import OUTCOME_SERVICE, FeedbackCall, Outcomes
from services.gateway.edge.grpc.health import HEALTH_SERVICE, INFERENCE_SERVICE, Health, WatchCall
from services.gateway.edge.grpc.infer import InferCall
from services.gateway.edge.grpc.infer_stream import InferStream
from services.gateway.edge.grpc.reflection import METHOD, V1, V1ALPHA, ReflectionCall, servicer
from services.gateway.edge.grpc.request_wire import RequestWire
from services.gateway.edge.grpc.service import GrpcService, Method
from services.gateway.edge.grpc.site import Site
from services.gateway.edge.http2.bounds import Bounds
from services.gateway.edge.http2.server import Http2Server
from services.gateway.limits import Limits
from services.gateway.pipeline import Pipeline


class GrpcServer:
    """Serves gRPC on one listening socket.

    Args:
        listener: A socket that listens; closed at the end.
        pipeline: Where inference goes.
        catalog: Where documents come from.
        limits: Bounds.
        budget: The worker's bytes of requests.
        draining: Whether this worker is on its way out.
        feedback: Takes what clients tell of outcomes; None where nobody does.
    """

    def __init__(
        self,
        listener: socket.socket,
        pipeline: Pipeline,
        catalog: Catalog,
        *,
        limits: Limits,
        budget: BufferBudget,
        draining: Callable[[], bool],
        feedback: FeedbackDesk | None = None,
    ) -> None:
        self._site = Site(pipeline, catalog, limits, budget, RequestWire(limits))
        service = GrpcService(_methods(self._site, Health(catalog.not_ready, draining), feedback), limits)
        self._server = Http2Server(service, listener, Bounds.of(limits), limits.max_connections)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.port

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return self._server.connections

    async def start(self) -> None:
        """Accept connections."""
        await self._server.start()

    async def stop(self, drain_s: float) -> None:
        """Take no new call, give the ones in flight ``drain_s`` seconds, then end them."""
        await self._server.stop(drain_s)
        await self._site.finish()


def _methods(site: Site, health: Health, feedback: FeedbackDesk | None) -> dict[str, Method]:
    """Return everything that a client may call."""
    methods: dict[str, Method] = {
        f"/{INFERENCE_SERVICE}/ModelInfer": partial(InferCall, site),
        f"/{INFERENCE_SERVICE}/ModelStreamInfer": partial(InferStream, site),
        f"/{HEALTH_SERVICE}/Watch": partial(WatchCall, site, health=health),
    }
    unary = {f"/{INFERENCE_SERVICE}/{name}": one for name, one in Documents(site.catalog).behaviours().items()}
    unary[f"/{HEALTH_SERVICE}/Check"] = (health_pb2.HealthCheckRequest, health.check)
    for path, (request, behaviour) in unary.items():
        methods[path] = partial(DocumentCall, site, request=request, behaviour=behaviour)
    services = [INFERENCE_SERVICE, HEALTH_SERVICE, V1, V1ALPHA]
    if feedback is not None:
        services.append(OUTCOME_SERVICE)
        for name, (request, behaviour) in Outcomes(feedback).behaviours().items():
            methods[f"/{OUTCOME_SERVICE}/{name}"] = partial(FeedbackCall, site, request=request, behaviour=behaviour)
    knows = servicer(tuple(services))
    for service in (V1, V1ALPHA):
        methods[f"/{service}/{METHOD}"] = partial(ReflectionCall, site, servicer=knows)
    return methods
