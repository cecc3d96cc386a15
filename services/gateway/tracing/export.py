"""Sends spans in batches, off the way of every request: a queue with an end, and a thread for the sending alone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult

from services.gateway.tracing.context import RequestTrace
from services.gateway.tracing.ended import Ended
from services.gateway.tracing.settings import TracingSettings
from services.gateway.tracing.spans import SpanMaker

EXPORTED, DROPPED, FAILED = "exported", "dropped", "failed"
_NS_PER_S = 1_000_000_000

_log = logging.getLogger(__name__)


_Waiting = tuple[Ended, RequestTrace, int]


class SpanExport:
    """Takes requests that ended and sends their spans.

    Args:
        settings: Where to, and the bounds.
        instance: What this worker is called.
        count: Told what became of the spans (``exported``, ``failed`` or ``dropped``) of how many requests.
    """

    def __init__(self, settings: TracingSettings, instance: str, count: Callable[[str, int], None]) -> None:
        self._settings = settings
        self._count = count
        self._maker = SpanMaker(settings.service_name, instance)
        self._exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=settings.export_timeout_s)
        self._waiting: deque[_Waiting] = deque()
        self._full_batch = asyncio.Event()
        self._sending: tuple[asyncio.Future[str], int] | None = None  # a batch on its way, and its number of requests
        self._ended = False

    def offer(self, request: Ended, trace: RequestTrace) -> None:
        """Take a request that ended; never waits, and drops it when too many wait already."""
        if len(self._waiting) >= self._settings.max_queue or self._ended:
            self._count(DROPPED, 1)
            return
        epoch_ns = time.time_ns() - int(time.perf_counter() * _NS_PER_S)
        self._waiting.append((request, trace, epoch_ns))
        if len(self._waiting) >= self._settings.max_batch:
            self._full_batch.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.period_s):
                    await self._full_batch.wait()
            self._full_batch.clear()
            await self._send_waiting()

    async def aclose(self) -> None:
        """Send what waits, for no longer than one batch may take, and end; what is left then is lost, and counted."""
        self._ended = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.export_timeout_s):
                await self._send_waiting()
        if self._sending is not None:
            self._count(FAILED, self._sending[1])  # nobody said that they took it
        self._count(DROPPED, len(self._waiting))
        self._waiting.clear()
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library has no annotation here

    async def _send_waiting(self) -> None:
        """Send batch after batch; whoever is cancelled here leaves the one on its way to the next caller."""
        while self._sending or self._waiting:
            if self._sending is None:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._settings.max_batch))]
                self._sending = asyncio.ensure_future(asyncio.to_thread(self._send, batch)), len(batch)
            sent, requests = self._sending
            result = await asyncio.shield(sent)
            self._sending = None
            self._count(result, requests)

    def _send(self, batch: list[_Waiting]) -> str:
        try:
            spans = [span for one in batch for span in self._maker.spans(*one)]
            return EXPORTED if self._exporter.export(spans) is SpanExportResult.SUCCESS else FAILED
        except Exception:  # noqa: BLE001 - a defect in a trace must not end the worker that serves
            _log.exception("the spans of %d requests could not be sent", len(batch))
            return FAILED
