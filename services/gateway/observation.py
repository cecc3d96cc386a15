"""Everything that watches one worker, put together: counts, gauges, spans and log lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from services.gateway.journal import Journal
from services.gateway.logs import LogSettings
from services.gateway.metrics.recorder import Recorder
from services.gateway.metrics.replica_metrics import ReplicaMetrics
from services.gateway.metrics.series import TRACED
from services.gateway.metrics.slab import SlabWriter
from services.gateway.metrics.vitals import Reading, Source, Vitals
from services.gateway.request_log import RequestLog
from services.gateway.tracing.context import Sampler
from services.gateway.tracing.settings import TracingSettings


class Observation:
    """One worker's watchers.

    Args:
        slab: Where counts live.
        tracing: Where spans go, and of which requests.
        log: Which requests have a line.
        instance: What the worker is called in its spans.

    Attributes:
        recorder: Counts requests and answers.
        journal: Tells of single requests.
        replica_events: Counts what the replicas of Triton do.
    """

    def __init__(
        self,
        slab: SlabWriter,
        *,
        tracing: TracingSettings | None = None,
        log: LogSettings | None = None,
        instance: str = "",
    ) -> None:
        tracing = tracing or TracingSettings()
        self.recorder = Recorder(slab)
        self.replica_events = ReplicaMetrics(self.recorder)
        self._request_log = RequestLog(log or LogSettings(), time.monotonic)
        self._export = None
        if tracing.endpoint:
            # Only here: who does not trace need not import OpenTelemetry.
            from services.gateway.tracing.export import SpanExport

            self._export = SpanExport(tracing, instance, self._count_traced)
        self.journal = Journal(self._request_log, Sampler(tracing.sample_ratio), self._export)
        self._sources: list[Source] = [self._suppressed]
        self._vitals = Vitals(self.recorder, self._sources)

    def watch(self, source: Source) -> None:
        """Publish what ``source`` gives, twice a second."""
        self._sources.append(source)

    async def run(self) -> None:
        """Publish gauges and send spans until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._vitals.run())
            if self._export is not None:
                tasks.create_task(self._export.run())

    async def aclose(self) -> None:
        """Send the spans that wait, in bounded time."""
        if self._export is not None:
            await self._export.aclose()

    def _count_traced(self, result: str, requests: int) -> None:
        self.recorder.add(TRACED, result, count=requests)

    def _suppressed(self) -> Iterable[Reading]:
        """Give no gauge: the log only says what it suppressed, as often as gauges are read."""
        self._request_log.tick()
        return ()
