"""One worker's serving side, put together: this constructor is its table of contents."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from services.gateway.admission import Admission, AdmissionSettings
from services.gateway.admission.readings import counting, readings
from services.gateway.answer_memory import AnswerMemory
from services.gateway.catalog import Catalog
from services.gateway.control.feedback_desk import FeedbackDesk
from services.gateway.edge.buffer_budget import BufferBudget
from services.gateway.edge.grpc.server import GrpcServer
from services.gateway.edge.rest.documents import documents
from services.gateway.edge.rest.server import RestServer
from services.gateway.limits import Limits
from services.gateway.metrics.series import BUFFERED, CONNECTIONS
from services.gateway.metrics.slab import SlabWriter, WorkerState
from services.gateway.mirroring.mirroring import Mirroring
from services.gateway.mirroring.settings import MirrorSettings
from services.gateway.observation import Observation
from services.gateway.pipeline import Pipeline
from services.gateway.routes import Routes
from services.gateway.schemas import SchemaCache
from services.triton.upstream import Serving


class Gateway:
    """Both edges, the pipeline behind them, and their orderly end.

    Args:
        upstream: Where models run.
        routes: The route table, kept up to date by whoever owns this.
        slab: Where to count.
        http_listener: Socket to serve REST on; closed at the end.
        grpc_listener: Socket to serve gRPC on; closed at the end.
        limits: Bounds.
        admission: How many requests are forwarded at once, and how long others wait.
        mirroring: Bounds on copies of requests.
        answers: Remembers who answered requests of A/B tests; None where there are none.
        feedback: Takes what clients tell of outcomes; None where nobody does.
        workers: How many workers the gateway has, this one included.
        replicas: Returns how many Tritons there are.
        observation: What counts and tells; by default it counts only.
    """

    def __init__(
        self,
        upstream: Serving,
        routes: Routes,
        slab: SlabWriter,
        *,
        http_listener: socket.socket,
        grpc_listener: socket.socket,
        limits: Limits | None = None,
        admission: AdmissionSettings | None = None,
        mirroring: MirrorSettings | None = None,
        answers: AnswerMemory | None = None,
        feedback: FeedbackDesk | None = None,
        workers: int = 1,
        replicas: Callable[[], int] = lambda: 1,
        observation: Observation | None = None,
    ) -> None:
        limits = limits or Limits()
        observation = observation or Observation(slab)
        self._slab = slab
        self._drain_s = limits.drain_s
        self._unready_s = limits.unready_s
        self._draining = False

        self._schemas = SchemaCache(upstream, max_waiting=512)
        routes.on_change(self._schemas.retain)
        routes.on_change(lambda table: slab.set_generation(table.generation))
        self._admission = Admission(
            admission,
            workers=workers,
            replicas=replicas,
            publish=slab.set_in_flight,
            refused=counting(observation.recorder),
        )
        routes.on_change(self._admission.retain)
        observation.watch(lambda: readings(self._admission.states()))
        self._mirroring = Mirroring(
            upstream=upstream,
            schemas=self._schemas,
            capacity=self._admission,
            recorder=observation.recorder,
            limits=limits,
            settings=mirroring,
        )
        routes.on_change(self._mirroring.retain)
        observation.watch(self._mirroring.readings)
        pipeline = Pipeline(
            upstream=upstream,
            routes=routes,
            schemas=self._schemas,
            admission=self._admission,
            recorder=observation.recorder,
            journal=observation.journal,
            limits=limits,
            mirroring=self._mirroring,
            answers=answers,
        )
        catalog = Catalog(upstream, routes, self._is_draining)

        self._budget = budget = BufferBudget(limits.max_buffered_bytes)
        self._http = RestServer(
            http_listener,
            pipeline,
            routes,
            documents(catalog, routes, feedback),
            limits=limits,
            budget=budget,
            draining=self._is_draining,
        )
        self._grpc = GrpcServer(
            grpc_listener,
            pipeline,
            catalog,
            limits=limits,
            budget=budget,
            draining=self._is_draining,
            feedback=feedback,
        )
        observation.watch(
            lambda: [
                (BUFFERED, (), budget.held_bytes),
                (CONNECTIONS, ("rest",), self._http.connections),
                (CONNECTIONS, ("grpc",), self._grpc.connections),
            ]
        )

    @property
    def http_port(self) -> int:
        """The REST port."""
        return self._http.port

    @property
    def grpc_port(self) -> int:
        """The gRPC port."""
        return self._grpc.port

    @property
    def held_bytes(self) -> int:
        """Bytes of requests, and of answers that clients do not take, that are held now."""
        return self._budget.held_bytes

    def lingers(self, model: str, version: int, change: int) -> None:
        """Count requests that Triton works on although nobody waits for them: they are load all the same."""
        self._admission.lingers(model, version, change)

    async def start(self) -> None:
        """Listen on both ports."""
        await self._http.start()
        await self._grpc.start()
        self._slab.set_state(WorkerState.LISTENING)

    async def stop(self) -> None:
        """Drain: not ready, then no new connections, finish what is in flight, end."""
        self._draining = True
        self._slab.set_state(WorkerState.DRAINING)
        await asyncio.sleep(self._unready_s)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._http.stop())
            both.create_task(self._grpc.stop(self._drain_s))
        self._admission.close()
        await self._mirroring.aclose()
        await self._schemas.aclose()

    def _is_draining(self) -> bool:
        return self._draining
