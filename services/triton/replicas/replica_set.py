"""Several Tritons as one: the ``Serving`` that a gateway worker has."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from services.core.errors import OK, PenstockError, Unavailable, status_of
from services.core.inference import Attempt, InferRequest, InferResponse, ModelSchema
from services.core.replica_address import DnsName, ReplicaAddress
from services.triton.http import HttpPool
from services.triton.replicas.events import NoEvents, ReplicaEvents, ReplicaState
from services.triton.replicas.settings import ReplicaSettings
from services.triton.triton_upstream import TritonUpstream

_CONTROL_CONNECTIONS = 16


class _Replica:
    def __init__(self, address: ReplicaAddress, max_connections: int) -> None:
        self.name = address.name
        self.in_flight = 0
        self.pools = (
            HttpPool(address.host, address.http_port, max_connections),
            HttpPool(address.host, address.http_port, _CONTROL_CONNECTIONS),
        )
        self.upstream = TritonUpstream(*self.pools)


class ReplicaSet:
    """Sends each request to the less loaded of two replicas.

    Args:
        targets: The replicas, or the name that has their addresses.
        settings: Discovery, health and second attempts.
        max_connections_per_replica: Most requests in flight at one replica.
        events: Told of attempts and changes.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        targets: Sequence[ReplicaAddress] | DnsName,
        settings: ReplicaSettings | None = None,
        *,
        max_connections_per_replica: int = 512,
        events: ReplicaEvents | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings = settings or ReplicaSettings()
        self._events = events or NoEvents()
        self._clock = clock
        addresses = [] if isinstance(targets, DnsName) else targets
        self._replicas = [_Replica(address, max_connections_per_replica) for address in addresses]

    async def run(self) -> None:
        """Watch the replicas until cancelled."""
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        """Close every connection."""
        for replica in self._replicas:
            for pool in replica.pools:
                await pool.aclose()

    async def infer(self, request: InferRequest, version: int, timeout_s: float) -> InferResponse:
        """Run one request; errors as in ``Upstream``."""
        replica = self._pick()
        replica.in_flight += 1
        begun, outcome = self._clock(), "cancelled"
        try:
            response = await replica.upstream.infer(request, version, timeout_s)
            outcome = OK.outcome
        except PenstockError as error:
            outcome = status_of(error).outcome
            raise
        finally:
            replica.in_flight -= 1
            ended = self._clock()
            request.attempts.append(Attempt(replica.name, begun, ended, outcome))
            self._events.attempt(replica.name, outcome, ended - begun)
        response.replica = replica.name
        return response

    async def stream(
        self, request: InferRequest, version: int, timeout_s: float
    ) -> AsyncGenerator[InferResponse, None]:
        """Run one request of a decoupled model."""
        replica = self._pick()
        async for response in replica.upstream.stream(request, version, timeout_s):
            response.replica = replica.name
            yield response

    async def schema(self, model: str, version: int) -> ModelSchema:
        """Return the inputs and outputs of a loaded version."""
        return await self._pick().upstream.schema(model, version)

    async def document(self, path: str, body: bytes | None = None) -> Any:
        """Return one replica's JSON document."""
        return await self._pick().upstream.document(path, body)

    async def documents(self, path: str) -> dict[str, Any]:
        """Return the document of every replica that can be reached."""
        found = await asyncio.gather(*[r.upstream.document(path) for r in self._replicas], return_exceptions=True)
        pairs = zip(self._replicas, found, strict=True)
        answers = {r.name: document for r, document in pairs if not isinstance(document, BaseException)}
        errors = [error for error in found if isinstance(error, BaseException)]
        for error in errors:
            if not isinstance(error, PenstockError):
                raise error
        if not answers:
            raise Unavailable("no replica of Triton can be reached")
        return answers

    async def ready(self) -> bool:
        """Whether any replica is ready."""
        return any(await asyncio.gather(*[replica.upstream.ready() for replica in self._replicas]))

    def states(self) -> list[ReplicaState]:
        """How each replica is doing; metrics and the poll of Triton's statistics read it."""
        return [ReplicaState(r.name, healthy=True, reason="", in_flight=r.in_flight, share=1.0) for r in self._replicas]

    def _pick(self) -> _Replica:
        if not self._replicas:
            raise Unavailable("no replica of Triton is known yet")
        two = random.sample(self._replicas, min(2, len(self._replicas)))
        return min(two, key=lambda replica: replica.in_flight)
