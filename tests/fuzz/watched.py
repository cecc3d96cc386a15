"""A gateway of one worker in front of a real Triton, under watch: what it holds, whether it still serves others."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.triton.http import HttpPool
from tests.differential.lab import gateway_before
from tests.fakes.gateway import eventually
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.running_triton import RunningTriton

BODY = b'{"inputs":[{"name":"INT8","datatype":"INT8","shape":[1,1,2],"data":[1,2]}]}'
_AT_ONCE = 16
Work = Callable[[], Awaitable[None]]
_PAUSE_S = 0.02
_WARM = 20
# What must be nothing when nobody is there.
_GAUGES = ("penstock_in_flight", "penstock_buffered_bytes", "penstock_connections")


def seeded(name: str) -> random.Random:
    """Return a source of chance; ``FUZZ_SEED`` chooses another one, and which one it was is printed."""
    seed = os.environ.get("FUZZ_SEED", "1")
    print(f"{name}: FUZZ_SEED={seed}")
    return random.Random(f"{name} {seed}")


def rounds(number: int) -> int:
    """Return how many rounds to run; ``FUZZ`` multiplies them."""
    return int(number * float(os.environ.get("FUZZ", "1")))


@dataclass
class Watched:
    """The gateway, its only worker, and a client that wants nothing special."""

    gateway: GatewayProcess
    worker: psutil.Process
    triton: RunningTriton
    served: int = 0

    @property
    def rest_port(self) -> int:
        return self.gateway.ports["REST"]

    @property
    def grpc_port(self) -> int:
        return self.gateway.ports["gRPC"]

    @property
    def resident_mib(self) -> float:
        return float(self.worker.memory_info().rss) / (1 << 20)

    async def at_once(self, works: Iterable[Work]) -> None:
        """Do everything, so many at a time; the first failure ends it."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(work: Work) -> None:
            async with gate:
                await work()

        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(one(work))

    async def is_quiet(self) -> None:
        """Wait until the gateway holds nothing of anybody: no request, no byte, no connection but a scrape's."""
        left: dict[str, float] = {}
        for _ in range(500):
            left = {name: value for name in _GAUGES if (value := await self.gateway.metric(name))}
            if not left:
                return
            await asyncio.sleep(_PAUSE_S)
        raise AssertionError(f"the gateway still holds {left}")

    def is_the_same(self) -> None:
        """Neither the worker nor Triton was replaced."""
        assert [worker.pid for worker in self.gateway.workers()] == [self.worker.pid]
        assert psutil.pid_exists(self.triton.first_pid)

    @asynccontextmanager
    async def others_served(self) -> AsyncIterator[None]:
        """Keep one ordinary client asking; every request of it must be answered."""
        pool = HttpPool("127.0.0.1", self.rest_port)

        async def ask() -> None:
            while True:
                response = await pool.request("POST", "/v2/models/echo/infer", {}, (BODY,), 20.0)
                assert response.status == 200, response.body
                self.served += 1
                await asyncio.sleep(_PAUSE_S)

        task = asyncio.create_task(ask())
        try:
            yield
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await pool.aclose()


@asynccontextmanager
async def watched(triton: RunningTriton, state_dir: Path) -> AsyncIterator[Watched]:
    """Run a gateway that is warm: it has answered, and its memory is what it needs."""
    async with gateway_before(triton, state_dir) as gateway:
        (worker,) = gateway.workers()
        found = Watched(gateway, worker, triton)
        async with found.others_served():
            await eventually(lambda: found.served >= _WARM)
        yield found


async def leaves_nothing(watch: Watched, fuzz: Callable[[], Iterable[Work]], mib: float) -> None:
    """Fuzz three times: others are served meanwhile, nothing is held afterwards, and memory does not grow.

    Args:
        watch: The gateway.
        fuzz: Gives the works of one part, other ones each time.
        mib: By how much memory may grow from the end of the first part, when all is warm, to the end of the third.
    """
    resident, files = [], []
    for _ in range(3):
        async with watch.others_served():
            await watch.at_once(fuzz())
        await watch.is_quiet()
        watch.is_the_same()
        resident.append(watch.resident_mib)
        files.append(watch.worker.num_fds())
    print(f"resident MiB {resident}; open files {files}; {watch.served} ordinary requests served")
    assert resident[2] - resident[0] <= mib, f"memory grows: {resident} MiB"
    # As many connections to Triton stay open as there were ever clients at once.
    assert files[2] <= files[0] + _AT_ONCE, f"files stay open: {files}"
