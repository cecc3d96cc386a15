"""Sends requests to a gateway one after the other at a steady rate, a bounded number of them at a time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2

from services.cli.recorded_requests import Body
from services.core.counts.histogram import LatencyHistogram

_UNANSWERED = "no answer"
_WORDS = 200


@dataclass
class Sent:
    """What became of the requests.

    Attributes:
        answered: Those with status 200.
        failed: The others, by status or reason.
        said: One answer of each kind of failure, in the gateway's words.
        latency: Of those that were answered, seconds.
        seconds: From the first request to the last answer.
        ended_early: Whether it was told to stop before the last request.
    """

    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    said: dict[str, str] = field(default_factory=dict)
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    seconds: float = 0.0
    ended_early: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        quantiles = {f"p{q}_ms": self._milliseconds(q / 100) for q in (50, 95, 99)}
        return {
            "answered": self.answered,
            "failed": dict(self.failed),
            "said": self.said,
            "seconds": round(self.seconds, 2),
            "ended_early": self.ended_early,
            **quantiles,
        }

    def _milliseconds(self, q: float) -> float | None:
        seconds = self.latency.quantile(q)
        return None if seconds is None else round(1e3 * seconds, 2)


async def send_paced(
    client: httpx2.AsyncClient,
    path: str,
    bodies: Iterator[Body],
    *,
    rate_per_s: float,
    at_once: int,
    over: asyncio.Event,
) -> Sent:
    """Send every request once, none before its time, and wait for the answers.

    Where all places are taken the next one waits: what falls behind is not made up for in a rush.

    Args:
        client: Carries the requests; its timeout bounds each of them.
        path: Where to.
        bodies: The requests, in order.
        rate_per_s: Most of them in a second.
        at_once: Most of them without an answer.
        over: Set when to stop: the next request is not sent.

    Raises:
        PenstockError: There is something wrong with a request before it is sent; nothing more is waited for.
    """
    sent, places, began = Sent(), asyncio.Semaphore(at_once), time.monotonic()
    due = began
    try:
        async with asyncio.TaskGroup() as group:
            for body in bodies:
                await places.acquire()
                due = max(due, time.monotonic() - 1 / rate_per_s)
                with suppress(TimeoutError):
                    async with asyncio.timeout(due - time.monotonic()):
                        await over.wait()
                if over.is_set():
                    sent.ended_early = True
                    break
                due += 1 / rate_per_s
                group.create_task(_send(client, path, body, sent)).add_done_callback(lambda _: places.release())
    except BaseExceptionGroup as several:
        # One error and its words instead of a group, which nobody expects here.
        raise several.exceptions[0] from None
    sent.seconds = time.monotonic() - began
    return sent


async def _send(client: httpx2.AsyncClient, path: str, body: Body, sent: Sent) -> None:
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(body.json_size)}
    if body.json_size == len(body.data):
        headers = {"Content-Type": "application/json"}
    began = time.monotonic()
    try:
        response = await client.post(path, content=body.data, headers=headers)
    except httpx2.HTTPError as error:
        sent.failed[_UNANSWERED] += 1
        sent.said.setdefault(_UNANSWERED, f"{type(error).__name__}: {error}"[:_WORDS])
        return
    if response.is_success:
        sent.answered += 1
        sent.latency.observe(time.monotonic() - began)
        return
    status = str(response.status_code)
    sent.failed[status] += 1
    sent.said.setdefault(status, response.text[:_WORDS])
