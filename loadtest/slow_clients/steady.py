"""Ordinary traffic at a constant rate, whose latency is what the others notice."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from loadtest.chaos.rest_client import RestClient
from loadtest.payload import Interface, Payload

_DEADLINE_S = 5.0


@dataclass
class Span:
    """What was measured in one stretch of time.

    Attributes:
        latencies_s: From when a request was due to its answer.
        failures: Why requests failed, with their numbers.
    """

    latencies_s: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)

    def merged(self, other: Span) -> Span:
        """Return both together."""
        failures = dict(self.failures)
        for why, count in other.failures.items():
            failures[why] = failures.get(why, 0) + count
        return Span(self.latencies_s + other.latencies_s, failures)

    def quantile_ms(self, level: float) -> float:
        """Return a quantile of the latencies; NaN without any."""
        return float(np.quantile(self.latencies_s, level) * 1e3) if self.latencies_s else float("nan")


class SteadyTraffic:
    """Sends requests at a constant rate until it is stopped; a context.

    Attributes:
        span: Where measurements go now.

    Args:
        address: The gateway.
        interface: What is asked.
        payload: The request.
        rate: Requests per second.
    """

    def __init__(self, address: str, interface: Interface, payload: Payload, rate: float) -> None:
        self.span = Span()
        self._client = RestClient(address)
        self._interface = interface
        self._payload = payload
        self._period_s = 1.0 / rate
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._send_all(), name="steady traffic")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._client.close()

    async def measure(self, seconds: float) -> Span:
        """Return what is measured in the next seconds."""
        span = self.begin()
        await asyncio.sleep(seconds)
        self.begin()
        return span

    def begin(self) -> Span:
        """Begin a stretch of time; requests count where they are due."""
        self.span = Span()
        return self.span

    async def _send_all(self) -> None:
        due = time.perf_counter()  # uvloop's own clock counts milliseconds
        async with asyncio.TaskGroup() as requests:
            while True:
                requests.create_task(self._send(due, self.span))
                due += self._period_s
                await asyncio.sleep(due - time.perf_counter())

    async def _send(self, due: float, span: Span) -> None:
        deadline = asyncio.get_running_loop().time() + _DEADLINE_S
        failure, _ = await self._client.send(self._interface, self._payload, deadline)
        if failure is None:
            span.latencies_s.append(time.perf_counter() - due)
        else:
            span.failures[failure.kind] = span.failures.get(failure.kind, 0) + 1
