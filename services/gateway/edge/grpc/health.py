"""``grpc.health.v1.Health``, answered from the same readiness as REST's.

``Check`` is exact at every call. ``Watch`` looks once a second, because nothing tells the gateway when Triton comes or
goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2

_WATCH_PERIOD_S = 1.0
_MAX_WATCHERS = 64
INFERENCE_SERVICE: str = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_SERVICES = ("", INFERENCE_SERVICE)


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # generated, untyped
    """The health of one worker.

    Args:
        not_ready: Gives the reason why requests should not be sent here, or None.
        draining: Whether this worker is on its way out; then watches end, for nothing will change any more.
    """

    def __init__(self, not_ready: Callable[[], Awaitable[str | None]], draining: Callable[[], bool]) -> None:
        self._not_ready = not_ready
        self._draining = draining
        self._watchers = 0

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - a name of the protocol
        """Return the present state."""
        if request.service not in _SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service '{request.service}' here")
        return await self._state()

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802 - a name of the protocol
        """Send the state, and again whenever it changes."""
        if self._watchers >= _MAX_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_MAX_WATCHERS} watchers already; use Check")
        self._watchers += 1
        last = None
        try:
            while not self._draining():
                known = request.service in _SERVICES
                state = await self._state() if known else _response("SERVICE_UNKNOWN")
                if state != last:
                    yield state
                    last = state
                await asyncio.sleep(_WATCH_PERIOD_S)
            yield await self._state()
        finally:
            self._watchers -= 1

    async def _state(self) -> Any:
        return _response("SERVING" if await self._not_ready() is None else "NOT_SERVING")


def _response(status: str) -> Any:
    return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.ServingStatus.Value(status))
