"""Several Tritons as one: the ``Serving`` that a gateway worker has."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from services.core.errors import DeadlineExceeded, Overloaded, PenstockError, Unavailable
from services.core.inference import InferRequest, InferResponse, ModelSchema
from services.core.replica_address import DnsName, ReplicaAddress
from services.triton.faults import Nonsense
from services.triton.merging.settings import MergeSettings
from services.triton.replicas.attempts import Attempts
from services.triton.replicas.events import NoEvents, ReplicaEvents, ReplicaState
from services.triton.replicas.hang_watch import LOOK_EVERY_S, HangWatch
from services.triton.replicas.judge import Judge
from services.triton.replicas.placement import Placement
from services.triton.replicas.ready_probe import ReadyProbe
from services.triton.replicas.replica import Replica, VersionKey
from services.triton.replicas.requests import Requests
from services.triton.replicas.resolver import LookUp, Resolver, look_up
from services.triton.replicas.roster import Lingering, Roster
from services.triton.replicas.sample_probe import SampleProbe
from services.triton.replicas.settings import ReplicaSettings
from services.triton.shared_memory.shared_memory import SharedMemory

Found = TypeVar("Found")

_IDLE_VERSION_S = 600.0
_LATE_S = 0.1
# Intervals of readiness for which an answer holds: whoever asks often must not become load on Triton.
_FRESH = 1.5
# Answers to a question about models that are wanted before it is given up.
_MOST_ASKED = 3
# Whoever left the list and is back within this time has not left.
_LEAST_S = 1.0


class ReplicaSet:
    """Sends each request to a replica that is well, watches all of them, and tries once more where that is safe.

    Args:
        targets: The replicas, or the name that has their addresses.
        settings: Discovery, health and second attempts.
        merging: When requests that are ready together are sent as one.
        memory: Memory that Tritons on this machine can read; None for none. Whoever made it closes it.
        max_connections_per_replica: Most requests in flight at one replica.
        max_response_bytes: Largest answer.
        events: Told of attempts and changes.
        clock: Seconds, monotonic.
        look_up: Asks for a name's addresses.
    """

    def __init__(
        self,
        targets: Sequence[ReplicaAddress] | DnsName,
        settings: ReplicaSettings | None = None,
        merging: MergeSettings | None = None,
        *,
        memory: SharedMemory | None = None,
        max_connections_per_replica: int = 512,
        max_response_bytes: int = 256 * 1024 * 1024,
        events: ReplicaEvents | None = None,
        clock: Callable[[], float] = time.perf_counter,
        look_up: LookUp = look_up,
    ) -> None:
        settings = settings or ReplicaSettings()
        events = events or NoEvents()
        self._settings = settings
        self._clock = clock
        together = merging or MergeSettings()
        self._roster = Roster(
            settings,
            events,
            lambda to: Replica(to, settings, max_connections_per_replica, max_response_bytes, together, memory=memory),
            clock,
        )
        judge = Judge(self._roster)
        self._placement = Placement(self._roster, settings.max_sequences, random.random)
        attempts = Attempts(judge, events, clock)
        self._requests = Requests(
            self._roster, self._placement, attempts, settings=settings, events=events, clock=clock
        )
        self._stalls = 0
        self._ready = ReadyProbe(self._roster, settings, clock, lambda: self._stalls)
        self._samples = SampleProbe(self._roster, judge, settings, clock)
        self._hangs = HangWatch(self._roster, settings, self._ready.ask)
        self._routed: frozenset[VersionKey] | None = None
        self._resolver: Resolver | None = None
        if isinstance(targets, DnsName):
            self._resolver = Resolver(targets, settings, self._resolved, look_up)
        else:
            self._roster.retarget(targets, trusted=True)

    def infer(self, request: InferRequest, version: int, timeout_s: float) -> Coroutine[Any, Any, InferResponse]:
        """Run one request; errors as in ``Upstream``."""
        return self._requests.infer(request, version, timeout_s)

    async def stream(
        self, request: InferRequest, version: int, timeout_s: float
    ) -> AsyncGenerator[InferResponse, None]:
        """Run one request of a decoupled model."""
        async with aclosing(self._requests.stream(request, version, timeout_s)) as responses:
            async for response in responses:
                yield response

    async def schema(self, model: str, version: int) -> ModelSchema:
        """Return the inputs and outputs of a loaded version, from any replica that has it."""
        schema = await self._from_any(lambda replica: replica.upstream.schema(model, version))
        self._roster.version((model, version)).learn(schema)
        return schema

    async def document(self, path: str, body: bytes | None = None) -> Any:
        """Return the JSON document of any replica that answers."""
        return await self._from_any(lambda replica: replica.upstream.document(path, body))

    async def documents(self, path: str) -> dict[str, Any]:
        """Return the document of every replica that answers, by replica."""
        replicas = list(self._roster.replicas.values())
        found = await asyncio.gather(*[_either(replica.upstream.document(path)) for replica in replicas])
        failures = [answer for answer in found if isinstance(answer, PenstockError)]
        if len(failures) == len(found):
            raise failures[0] if failures else Unavailable("no replica of Triton is known yet; try again shortly")
        pairs = zip(replicas, found, strict=True)
        return {replica.name: answer for replica, answer in pairs if not isinstance(answer, PenstockError)}

    async def ready(self) -> bool:
        """Whether any replica is ready: one that has just answered is, else all are asked."""
        replicas = list(self._roster.replicas.values())
        since = self._clock() - _FRESH * self._settings.ready_interval_s
        if any(replica.health.healthy and replica.heard_at > since for replica in replicas):
            return True
        tasks = [asyncio.ensure_future(replica.upstream.ready()) for replica in replicas]
        try:
            for answer in asyncio.as_completed(tasks):
                if await answer:
                    return True
            return False
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def follow(self, versions: Iterable[VersionKey]) -> None:
        """Take over which versions are routed: those are probed, others are forgotten."""
        self._routed = frozenset(versions)
        for key in self._routed:
            self._roster.version(key)
        self._drop_unused(self._clock())

    def on_lingering(self, listener: Lingering) -> None:
        """Tell ``listener`` by model and version how many requests more (or fewer) Triton has that nobody waits for."""
        self._roster.lingering = listener

    def states(self) -> list[ReplicaState]:
        """Return how every replica is doing."""
        return self._roster.states()

    async def run(self) -> None:
        """Look names up, probe and watch until cancelled; without it nothing is ejected for silence or readmitted."""
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._resolver is not None:
                    tasks.create_task(self._resolver.run(), name="addresses of the replicas")
                tasks.create_task(self._watch(), name="health of the replicas")
        finally:
            await self._ready.aclose()
            await self._samples.aclose()

    async def aclose(self) -> None:
        """Close every connection; requests in flight fail with ``Unavailable``."""
        replicas = [*self._roster.replicas.values(), *self._roster.leaving.values()]
        await asyncio.gather(*[replica.aclose() for replica in replicas])

    async def _watch(self) -> None:
        while True:
            now = self._clock()
            if self._hangs.look(now) > _LATE_S:
                self._stalls += 1
            self._ready.ask_due()
            self._samples.probe_due()
            self._requests.forget(now)
            self._drop_unused(now)
            await self._close_left(now)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _close_left(self, now: float) -> None:
        """Close those that left and have finished."""
        for name, replica in list(self._roster.leaving.items()):
            left_s = now - (replica.leaving_since or now)
            busy = replica.in_flight or left_s < _LEAST_S or self._placement.holds(replica)
            if not busy or left_s >= self._settings.drain_s:
                del self._roster.leaving[name]
                await replica.aclose()

    def _drop_unused(self, now: float) -> None:
        routed = self._routed or frozenset()
        for version in list(self._roster.versions.values()):
            if version.key in routed or any(pair.in_flight for pair in version.pairs):
                continue
            if self._routed is not None or now - version.used_at > _IDLE_VERSION_S:
                self._roster.drop(version)

    def _resolved(self, addresses: list[ReplicaAddress]) -> None:
        self._roster.retarget(addresses, trusted=not self._roster.replicas)

    async def _from_any(self, ask: Callable[[Replica], Awaitable[Found]]) -> Found:
        """Ask one replica after the other, those that are well first, until one answers."""
        replicas = list(self._roster.replicas.values())
        random.shuffle(replicas)
        replicas.sort(key=lambda replica: not replica.health.healthy)
        failure: PenstockError | None = None
        for replica in replicas[:_MOST_ASKED]:
            try:
                return await ask(replica)
            except (Unavailable, Overloaded, DeadlineExceeded, Nonsense) as error:
                failure = error
        raise failure or Unavailable("no replica of Triton is known yet; try again shortly")


async def _either(answer: Awaitable[Found]) -> Found | PenstockError:
    try:
        return await answer
    except PenstockError as error:
        return error
