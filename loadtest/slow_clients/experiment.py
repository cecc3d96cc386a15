"""Ordinary traffic without and with a crowd of slow clients, in turns within one run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from loadtest.bench.model import SMALL
from loadtest.payload import rest_payloads
from loadtest.slow_clients.crowd import GIVE_UP_S
from loadtest.slow_clients.steady import Span, SteadyTraffic
from services.core.errors import PenstockError

_WARM_UP_S = 3.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """What became of one crowd.

    Attributes:
        left: Clients that the server never ended.
        refused: Clients that could not connect.
        seconds: By kind, how long each client lasted.
        statuses: By kind, how many clients were told which status.
    """

    left: int
    refused: int
    seconds: dict[str, list[float]]
    statuses: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Found:
    """A whole run.

    Attributes:
        clients: Size of each crowd.
        rate: Requests per second of the ordinary traffic.
        crowds: What became of each.
        alone: The ordinary traffic without a crowd.
        beside: The ordinary traffic while there was one.
    """

    clients: int
    rate: float
    crowds: list[Crowd]
    alone: Span
    beside: Span

    @property
    def longest_s(self) -> float:
        """How long the longest slow client lasted; infinite where one was never ended."""
        if any(crowd.left for crowd in self.crowds):
            return float("inf")
        return max(
            (max(seconds, default=0.0) for crowd in self.crowds for seconds in crowd.seconds.values()), default=0.0
        )

    @property
    def ratio(self) -> float:
        """The p99 of the others beside a crowd, over that without one."""
        return self.beside.quantile_ms(0.99) / self.alone.quantile_ms(0.99)


async def run(
    address: str, *, clients: int, rate: float, rounds: int, alone_s: float, say: Callable[[str], None]
) -> Found:
    """Measure.

    Args:
        address: The gateway; it serves the benchmark's small model.
        clients: Slow clients at once.
        rate: Requests per second of the ordinary traffic.
        rounds: How many crowds, with a stretch without one before each and after the last.
        alone_s: Seconds of each such stretch.
        say: Told what happens.
    """
    payload = rest_payloads(SMALL.interface, SMALL.sample(), 1)[0]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.slow_clients.crowd", address, str(clients)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    crowds: list[Crowd] = []
    try:
        async with SteadyTraffic(address, SMALL.interface, payload, rate) as traffic:
            await asyncio.sleep(_WARM_UP_S)
            alone, beside = await traffic.measure(alone_s), Span()
            for number in range(rounds):
                say(f"crowd {number + 1} of {rounds}: {clients} slow clients")
                span = traffic.begin()
                crowds.append(await _crowd(process))
                traffic.begin()
                beside = beside.merged(span)
                alone = alone.merged(await traffic.measure(alone_s))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return Found(clients, rate, crowds, alone, beside)


async def _crowd(process: asyncio.subprocess.Process) -> Crowd:
    if process.stdin is None or process.stdout is None:
        raise PenstockError("the process of the slow clients has no pipes")
    process.stdin.write(b"go\n")
    try:
        async with asyncio.timeout(GIVE_UP_S + 30.0):
            line = await process.stdout.readline()
    except TimeoutError as error:
        raise PenstockError("the process of the slow clients gave no result in time") from error
    if not line:
        raise PenstockError("the process of the slow clients ended; raise the limit on open files (ulimit -n)")
    return Crowd(**orjson.loads(line))
