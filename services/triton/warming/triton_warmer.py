"""Warms versions on Tritons, one request at a time, from the samples that the build left or the configuration names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from services.core.errors import IntegrityError, PenstockError, Unavailable
from services.core.inference import InferRequest, InferResponse
from services.core.settling import Settling
from services.triton.layout import RepositoryLayout
from services.triton.published import read_manifest
from services.triton.upstream import Upstream
from services.triton.warming.samples import Samples
from services.triton.warming.warmer import Warmed

MOST_REQUESTS = 200
LONGEST_S = 30.0
_REQUEST_TIMEOUT_S = 30.0


class Upstreams(Protocol):
    """The servers of this moment. Adapter: ``TritonMembers``."""

    def upstreams(self) -> Mapping[str, Upstream]:
        """Return them by name (HOST:PORT)."""
        ...


class TritonWarmer:
    """The ``Warmer`` of Tritons.

    Args:
        servers: The Tritons.
        repository: Where the versions are.
        clock: Monotonic clock, seconds.
        longest_s: Longest time for one batch size on one server.
    """

    def __init__(
        self,
        servers: Upstreams,
        repository: RepositoryLayout,
        clock: Callable[[], float] = time.monotonic,
        longest_s: float = LONGEST_S,
    ) -> None:
        self._servers, self._repository, self._clock, self._longest_s = servers, repository, clock, longest_s

    async def warm(self, model: str, version: int) -> tuple[Warmed, ...]:
        """See ``Warmer``; all servers at the same time."""
        servers = self._servers.upstreams()
        if not servers:
            raise Unavailable("no Triton is known yet")
        samples, most = await asyncio.to_thread(self._samples, model, version)

        async def on(name: str, server: Upstream) -> Warmed:
            if samples is None:
                return await self._with_configured(name, server, model, version)
            return await self._with_samples(name, server, samples, most)

        try:
            async with asyncio.TaskGroup() as tasks:
                under_way = [tasks.create_task(on(name, server)) for name, server in servers.items()]
        except BaseExceptionGroup as group:
            # Raised outside of ``except*``, which in some Pythons wraps it in a group again.
            first = group.exceptions[0]
            if isinstance(first, PenstockError):
                raise first from None
            raise
        return tuple(task.result() for task in under_way)

    def _samples(self, model: str, version: int) -> tuple[Samples | None, int]:
        """Return a version's samples, None where it has no manifest, and its largest batch."""
        manifest = read_manifest(self._repository, model, version)
        most = max(1, self._repository.config(model).max_batch_size)
        if manifest is None:
            return None, most
        return Samples.read(self._repository.version_directory(model, version), manifest), most

    async def _with_samples(self, name: str, server: Upstream, samples: Samples, most: int) -> Warmed:
        """Send single rows and full batches, and hold what comes against the build's answers once around."""
        manifest, compared, settled = samples.manifest, 0, []
        for size in sorted({1, most}):
            start = 0

            async def ask(size: int = size) -> None:
                nonlocal start, compared
                rows = samples.rows(start, size)
                response = await server.infer(samples.request(rows), manifest.version, _REQUEST_TIMEOUT_S)
                if start < manifest.warmup.samples:
                    _check(name, samples, response, rows)
                    compared += size
                start += size

            settled.append(await self._until_settled(ask))
        return _warmed(name, settled, compared)

    async def _with_configured(self, name: str, server: Upstream, model: str, version: int) -> Warmed:
        """Warm a version that Penstock did not build with the sample of its configuration, where that has one."""
        schema = await server.schema(model, version)
        if not schema.sample or schema.decoupled:
            return _warmed(name, [], 0)

        async def ask() -> None:
            await server.infer(InferRequest(model, inputs=list(schema.sample)), version, _REQUEST_TIMEOUT_S)

        return _warmed(name, [await self._until_settled(ask)], 0)

    async def _until_settled(self, ask: Callable[[], Awaitable[None]]) -> Settling:
        settling, until = Settling(), self._clock() + self._longest_s
        while not settling.settled and settling.count < MOST_REQUESTS and self._clock() < until:
            begun = self._clock()
            await ask()
            settling.observe(self._clock() - begun)
        return settling


def _check(name: str, samples: Samples, response: InferResponse, rows: npt.NDArray[np.int64]) -> None:
    if differences := list(samples.differences(response, rows)):
        manifest = samples.manifest
        raise IntegrityError(
            f"{manifest.model} version {manifest.version} gives other answers on {name} than when it was built: "
            f"{'; '.join(differences)}"
        )


def _warmed(name: str, settled: Sequence[Settling], compared: int) -> Warmed:
    """Return how it went; the latencies are those of the first batch size, a single row."""
    first_s, last_s = (settled[0].first_s, settled[0].last_s) if settled else (0.0, 0.0)
    return Warmed(
        name, sum(one.count for one in settled), first_s, last_s, all(one.settled for one in settled), compared
    )
