"""``grpc.health.v1.Health``, answered from the same readiness as REST's.

``Check`` is exact at every call. ``Watch`` looks once a second, because nothing tells the gateway when Triton comes or
goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from grpc_health.v1 import health_pb2
from tritonclient.grpc import service_pb2

from services.core.errors import NotFound, Overloaded, PenstockError
from services.gateway.edge.grpc.documents import parse
from services.gateway.edge.grpc.message_reader import Buffer
from services.gateway.edge.grpc.site import Site
from services.gateway.edge.grpc.streaming import Streaming
from services.gateway.edge.http2.connection import Connection
from services.gateway.edge.http2.stream import Stream

_WATCH_PERIOD_S = 1.0
_MAX_WATCHERS = 64
INFERENCE_SERVICE: str = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
HEALTH_SERVICE: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_SERVICES = ("", INFERENCE_SERVICE)


class Health:
    """The health of one worker.

    Args:
        not_ready: Gives the reason why requests should not be sent here, or None.
        draining: Whether this worker is on its way out; then watches end, for nothing will change any more.
    """

    def __init__(self, not_ready: Callable[[], Awaitable[str | None]], draining: Callable[[], bool]) -> None:
        self._not_ready = not_ready
        self.draining = draining
        self.watchers = 0

    async def check(self, request: Any) -> Any:
        """Return the present state."""
        if request.service not in _SERVICES:
            raise NotFound(f"no service '{request.service[:200]}' here")
        return await self.state(request.service)

    async def state(self, service: str) -> Any:
        """Return the present state of a service, or that there is none of this name."""
        if service not in _SERVICES:
            return _response("SERVICE_UNKNOWN")
        return _response("SERVING" if await self._not_ready() is None else "NOT_SERVING")


class WatchCall(Streaming):
    """One ``Watch`` call: the state, and again whenever it changes.

    Args:
        site: What calls share.
        connection: The client's connection.
        stream: The call's stream.
        health: What is watched.
    """

    __slots__ = ("_health", "_task")

    def __init__(self, site: Site, connection: Connection, stream: Stream, health: Health) -> None:
        super().__init__(site, connection, stream)
        self._health = health
        self._task: asyncio.Task[None] | None = None

    def take(self, compressed: bool, message: Buffer) -> None:
        """Begin to watch."""
        if self._task is not None:
            return
        if self._health.watchers >= _MAX_WATCHERS:
            raise Overloaded(f"{_MAX_WATCHERS} watchers already; use Check")
        self._task = self.start(self._watch(compressed, message))

    def drained(self) -> None:
        """The client has said what it watches; one that said nothing is answered nothing."""
        if self._task is None:
            self.finish()

    def cancel(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()

    async def _watch(self, compressed: bool, message: Buffer) -> None:
        self._health.watchers += 1
        try:
            plain = await self.plain(message, self.hold) if compressed else message
            service: str = parse(health_pb2.HealthCheckRequest, plain, self.head.path).service
            last = None
            while not self._health.draining():
                state = await self._health.state(service)
                if state != last:
                    self.send([state.SerializeToString()])
                    await self.room()
                    last = state
                await asyncio.sleep(_WATCH_PERIOD_S)
            self.send([(await self._health.state(service)).SerializeToString()])
            self.finish()
        except PenstockError as error:
            self.fail(error)
        finally:
            self._health.watchers -= 1


def _response(status: str) -> Any:
    return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.ServingStatus.Value(status))
