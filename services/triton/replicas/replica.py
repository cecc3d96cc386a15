"""What a worker knows of one replica, of one model version, and of one version on one replica."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any

from services.core.errors import PenstockError
from services.core.inference import InferRequest, InferResponse, Merging, ModelSchema
from services.core.replica_address import ReplicaAddress
from services.core.tensor import Tensor
from services.triton.grpc_stream import GrpcStreams
from services.triton.http import Heir, HttpPool
from services.triton.merging.merger import Merger
from services.triton.merging.settings import MergeSettings
from services.triton.replicas.health import Health
from services.triton.replicas.hedge import hedge_after_s
from services.triton.replicas.latency import LatencySketch
from services.triton.replicas.settings import ReplicaSettings
from services.triton.shared_memory.shared_memory import SharedMemory
from services.triton.triton_upstream import TritonUpstream

VersionKey = tuple[str, int]

_CONTROL_CONNECTIONS = 16
_HANG_QUANTILE = 0.99
# However quick a model usually is, a pause of the machine must not look like its fault.
_LEAST_FAIR_S = 0.1
# The weight of one answer in the part of answers that are failures, and when that part is as good as none.
WEIGHT = 0.1
_FORGIVEN = 0.001


def new_health(settings: ReplicaSettings) -> Health:
    """Return a health with the settings' bounds."""
    return Health(settings.eject_after_failures, settings.ejection_s, settings.max_ejection_s, settings.forgive_after_s)


class Version:
    """One model version, wherever it is.

    Attributes:
        model: Model name.
        version: Version number.
        pairs: It on every replica.
        well: It where both it and the replica are well: where requests go first.
        latencies: How long its answers take.
        least_s: Least smoothed latency of a pair: nobody looks more than twice as fast as usual, or it gets everything.
        hang_s: Silence after which it hangs; infinite while nobody knows what is usual.
        fair_s: Time that an attempt must have had before its lateness is held against anybody.
        attempt_s: Bound on a first attempt.
        hedge_s: Time after which a request is sent to a second replica too; infinite for never.
        sample: Inputs to prove it with; empty for none.
        proven: Whether the sample was ever answered, so that a failure says something.
        described: Whether its schema was seen, and with it the sample.
        merging: How requests for it may be merged; None for not at all, or while nobody knows.
        by_memory: Whether inputs may go through shared memory: not where Triton finds answers by inputs that may have
            changed until it works on them, nor while nobody knows.
        made_at: When it was first asked for.
    """

    __slots__ = (
        "attempt_s",
        "by_memory",
        "described",
        "fair_s",
        "hang_s",
        "hedge_s",
        "latencies",
        "least_s",
        "made_at",
        "merging",
        "model",
        "pairs",
        "proven",
        "sample",
        "version",
        "well",
    )

    def __init__(self, model: str, version: int, settings: ReplicaSettings, now: float) -> None:
        self.model = model
        self.version = version
        self.pairs: list[Pair] = []
        self.well: list[Pair] = []
        self.latencies = LatencySketch()
        self.least_s = 0.0
        self.hang_s = math.inf
        self.fair_s = settings.hang_after_s
        self.attempt_s = settings.attempt_timeout_s
        self.hedge_s = math.inf
        self.sample: tuple[Tensor, ...] = ()
        self.proven = False
        self.described = False
        self.merging: Merging | None = None
        self.by_memory = False
        self.made_at = now

    @property
    def key(self) -> VersionKey:
        """Model and version."""
        return self.model, self.version

    @property
    def used_at(self) -> float:
        """When it was last answered for a client, or first asked for."""
        return max(self.made_at, *(pair.heard_at for pair in self.pairs), 0.0)

    @property
    def typical_s(self) -> float:
        """What its smoothed latency is where it is well; 0 where nobody knows."""
        known = [pair.latency_s for pair in self.well if pair.latency_s]
        return sum(known) / len(known) if known else 0.0

    def learn(self, schema: ModelSchema) -> None:
        """Take over its sample, and how it may be asked."""
        self.described = True
        self.merging = schema.merging
        self.by_memory = not schema.cached
        if schema.sample != self.sample:
            self.sample = schema.sample
            self.proven = False

    def refresh(self) -> None:
        """Work out anew who is well."""
        self.well = [pair for pair in self.pairs if pair.health.healthy and pair.replica.health.healthy]

    def bound(self, settings: ReplicaSettings) -> None:
        """Work out its times anew from its latencies."""
        usual_s = self.latencies.quantile(_HANG_QUANTILE)
        if usual_s is not None:
            long_s = usual_s * settings.hang_latencies
            self.fair_s = max(_LEAST_FAIR_S, long_s)
            self.hang_s = max(settings.hang_after_s, long_s)
            self.attempt_s = max(settings.attempt_timeout_s, long_s)
        if settings.hedge:
            self.hedge_s = hedge_after_s(self.latencies, settings.hedge_floor_s)


class Replica:
    """One Triton.

    Args:
        address: Where it is.
        settings: Bounds.
        max_connections: Most requests in flight, and most streams.
        max_response_bytes: Largest answer.
        merging: When requests are merged.
        memory: Memory that a Triton on this machine can read; None for none.

    Attributes:
        address: Where it is.
        name: HOST:PORT.
        upstream: How it is spoken to.
        in_flight: Attempts that it has now.
        waiting_since: When the present silence began: the last answer, or the first request after a pause.
        heard_at: When it last answered anything.
        health: Whether it gets traffic at all.
        share: Its part of its fair share, during a slow start.
        merging: When requests are merged.
        started_at: When its slow start began; None when it is over.
        pairs: What is on it.
        misses: Looks at its readiness that it left unanswered, in a row.
        leaving_since: When it left the list; None while it is on it.
    """

    def __init__(
        self,
        address: ReplicaAddress,
        settings: ReplicaSettings,
        max_connections: int,
        max_response_bytes: int,
        merging: MergeSettings,
        *,
        memory: SharedMemory | None = None,
    ) -> None:
        self.address = address
        self.name = address.name
        self.in_flight = 0
        self.waiting_since = 0.0
        self.heard_at = 0.0
        self.health = new_health(settings)
        self.share = 1.0
        self.started_at: float | None = None
        self.pairs: dict[VersionKey, Pair] = {}
        self.misses = 0
        self.leaving_since: float | None = None
        self.merging = merging
        self._control_timeout_s = settings.control_timeout_s
        host, port, bound_s = address.host, address.http_port, settings.connect_timeout_s
        self._pool = HttpPool(host, port, max_connections, bound_s, max_response_bytes)
        self._control = HttpPool(host, port, _CONTROL_CONNECTIONS, bound_s, max_response_bytes)
        self._streams = GrpcStreams(address.grpc_target, max_connections, max_response_bytes)
        self._region = memory.region(host, self._ask) if memory is not None else None
        self.upstream = TritonUpstream(
            self._pool,
            self._control,
            settings.control_timeout_s,
            settings.ready_timeout_s,
            self._streams,
            merging=merging,
            region=self._region,
        )

    def give_up(self, pair: Pair, error: PenstockError) -> None:
        """End the first attempts of one version here."""
        pair.merger.give_up(pair, error)
        self._pool.give_up(pair, error)
        self._streams.give_up(pair, error)

    def close_idle(self) -> None:
        """Close idle connections: a Triton that is about to end waits for them."""
        self._pool.close_idle()
        self._control.close_idle()

    async def aclose(self) -> None:
        """Close every connection."""
        for pair in self.pairs.values():
            await pair.merger.aclose()
        if self._region is not None:
            await self._region.aclose()
        await self._streams.aclose()
        await self._pool.aclose()
        await self._control.aclose()

    async def _ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        method, parts = ("GET", ()) if body is None else ("POST", (body,))
        response = await self._control.request(method, f"/{path}", None, parts, self._control_timeout_s)
        return response.status, response.body


class Pair:
    """One version on one replica.

    Attributes:
        replica: Where.
        version: What.
        health: Whether it gets traffic here.
        share: As the replica's: where a choice looks for it.
        in_flight: Attempts now.
        waiting_since: As the replica's.
        heard_at: When it last answered well.
        latency_s: Its smoothed latency; 0 before its first answer.
        lingers: Told how many requests more (or fewer) are here although nobody waits for them.
        merger: Sends requests that are ready together as one.
        probe_at: When its sample may be tried here.
        proved_at: When its sample last succeeded here.
        failing: Part of its late answers that were the model's own failures, 0 to 1.
        trouble_since: When its present streak of those began; 0 while there is none.
    """

    __slots__ = (
        "failing",
        "health",
        "heard_at",
        "in_flight",
        "latency_s",
        "lingers",
        "merger",
        "probe_at",
        "proved_at",
        "replica",
        "share",
        "trouble_since",
        "version",
        "waiting_since",
    )

    def __init__(
        self, replica: Replica, version: Version, settings: ReplicaSettings, lingers: Callable[[int], None]
    ) -> None:
        self.replica = replica
        self.version = version
        self.health = new_health(settings)
        self.share: float = replica.share
        self.in_flight = 0
        self.waiting_since = 0.0
        self.heard_at = 0.0
        self.latency_s = version.typical_s
        self.probe_at = 0.0
        self.proved_at = 0.0
        self.failing = 0.0
        self.trouble_since = 0.0
        self.lingers = lingers
        self.merger = Merger(self._send, replica.merging, lingers)

    @property
    def patience_s(self) -> float:
        """How long the answer to a request is waited for that nobody wants any more, seconds."""
        return self.version.fair_s

    def attempt(
        self, request: InferRequest, timeout_s: float, left_s: float, group: object
    ) -> Coroutine[Any, Any, InferResponse]:
        """Send a request by itself; as ``TritonUpstream.attempt``."""
        return self._exchange(request, timeout_s, left_s, resend=False, group=group, heir=self)

    def begin(self, now: float) -> None:
        """An attempt begins."""
        if not self.in_flight:
            self.waiting_since = now
        if not self.replica.in_flight:
            self.replica.waiting_since = now
        self.in_flight += 1
        self.replica.in_flight += 1

    def _send(
        self, request: InferRequest, timeout_s: float, left_s: float, *, members: int, group: object
    ) -> Coroutine[Any, Any, InferResponse]:
        if members == 1:
            return self.attempt(request, timeout_s, left_s, group)
        # What an idle server's hanging up loses must not cost every member its second attempt: it is sent again.
        return self._exchange(request, timeout_s, left_s, resend=True, group=group, heir=_Heirs(self, members))

    def _exchange(
        self, request: InferRequest, timeout_s: float, left_s: float, *, resend: bool, group: object, heir: Heir
    ) -> Coroutine[Any, Any, InferResponse]:
        number, clients = self.version.version, not request.is_copy
        return self.replica.upstream.attempt(
            request,
            number,
            timeout_s,
            left_s,
            resend=resend,
            group=group,
            # A copy that nobody waits for any more takes no place among clients' requests; its connection is closed.
            heir=heir if clients else None,
            by_memory=self.version.by_memory and clients,
        )

    def recovered(self) -> None:
        """A good answer came after failures: they were no streak."""
        self.health.failures = self.replica.health.failures = 0
        self.trouble_since = 0.0
        self.failing = self.failing * (1.0 - WEIGHT) if self.failing > _FORGIVEN else 0.0


class _Heirs:
    """The members of a merged request: they linger together."""

    def __init__(self, pair: Pair, count: int) -> None:
        self._pair = pair
        self._count = count

    @property
    def patience_s(self) -> float:
        return self._pair.patience_s

    def lingers(self, change: int) -> None:
        self._pair.lingers(change * self._count)
