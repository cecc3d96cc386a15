"""A ``ReplicaSet`` over fake Tritons, on real sockets, with short times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.core.errors import (
    PenstockError,
)
from services.core.inference import InferRequest, InferResponse, Parameter
from services.core.tensor import Tensor
from services.triton.replicas.replica_set import ReplicaSet
from services.triton.replicas.settings import ReplicaSettings
from tests.fakes.fake_triton import FakeTriton, fake_tritons
from tests.fakes.replica_events import RecordedEvents

QUICK = ReplicaSettings(
    ready_interval_s=0.2, ejection_s=0.2, slow_start_s=0.0, probe_interval_s=0.2, max_probes_per_s=100.0
)


def request(data: bytes = b"\x01", **more: Parameter) -> InferRequest:
    return InferRequest("m", inputs=[Tensor("X", "INT8", (1, 1), data)], parameters=more)


@dataclass
class Serving:
    """A set under test."""

    replicas: ReplicaSet
    tritons: list[FakeTriton]
    events: RecordedEvents

    async def ask(self, timeout_s: float = 5.0, data: bytes = b"\x01", **more: Parameter) -> InferResponse:
        return await self.replicas.infer(request(data, **more), 1, timeout_s)

    async def ask_many(
        self, count: int, at_once: int = 8, timeout_s: float = 5.0
    ) -> list[InferResponse | BaseException]:
        """Ask different things with a bounded concurrency, and return answers and errors."""
        answers: list[InferResponse | BaseException] = []

        async def client(number: int) -> None:
            for i in range(number, count, at_once):
                try:
                    answers.append(await self.ask(timeout_s, bytes([i % 256])))
                except PenstockError as error:
                    answers.append(error)

        await asyncio.gather(*[client(number) for number in range(at_once)])
        return answers

    def named(self, triton: FakeTriton) -> str:
        return triton.name

    def state(self, triton: FakeTriton) -> bool:
        return next(state.healthy for state in self.replicas.states() if state.replica == triton.name)


@asynccontextmanager
async def serving(count: int, settings: ReplicaSettings = QUICK, *, watched: bool = True) -> AsyncIterator[Serving]:
    """Run a set over ``count`` replicas."""
    events = RecordedEvents()
    async with fake_tritons(count) as tritons:
        replicas = ReplicaSet([triton.address for triton in tritons], settings, events=events)
        watch = asyncio.create_task(replicas.run()) if watched else None
        try:
            yield Serving(replicas, tritons, events)
        finally:
            if watch is not None:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
            await replicas.aclose()


def failures(answers: list[InferResponse | BaseException]) -> list[BaseException]:
    return [answer for answer in answers if isinstance(answer, BaseException)]
