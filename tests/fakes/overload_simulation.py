"""Gateway workers in front of one Triton in virtual time: real admission, simulated model, open-loop arrivals.

``python -m tests.fakes.overload_simulation`` prints what becomes of ten times the load, for several models.
"""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from services.core.errors import OK, DeadlineExceeded, PenstockError, status_of
from services.gateway.admission.admission import Admission
from services.gateway.admission.settings import AdmissionSettings
from tests.fakes.virtual_loop import VirtualLoop

_MODEL = "simulated"


@dataclass(frozen=True, slots=True)
class Batches:
    """A model that takes up to ``most`` requests at once for ``base_s`` + ``row_s`` each."""

    most: int = 4
    base_s: float = 0.030
    row_s: float = 0.002

    @property
    def capacity(self) -> float:
        """Requests per second in full batches."""
        return self.most / (self.base_s + self.most * self.row_s)


@dataclass(frozen=True, slots=True)
class Front:
    """What stands before the model.

    Attributes:
        batches: The model.
        workers: Gateway workers; each request comes to one of them by chance.
        deadline_s: Time that each request has.
        settings: Of admission.
    """

    batches: Batches
    workers: int = 2
    deadline_s: float = 0.5
    settings: AdmissionSettings = field(default_factory=AdmissionSettings)


@dataclass(frozen=True, slots=True)
class Load:
    """Arrivals: ``per_s`` at random for so many seconds."""

    per_s: float
    seconds: float


@dataclass(slots=True)
class Phase:
    """What became of the requests that arrived in one load.

    Attributes:
        offered: How many there were.
        answered_s: Latencies of the answers.
        refused_s: Times to the refusals.
        late: Requests whose time was over without either.
    """

    offered: int = 0
    answered_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    late: int = 0

    @property
    def refused_share(self) -> float:
        """Share of the requests that were refused."""
        return len(self.refused_s) / self.offered

    def quantile_s(self, q: float) -> float:
        """Return the nearest-rank quantile of the answers' latencies."""
        ordered = sorted(self.answered_s)
        return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else math.inf


class _Server:
    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._queue: deque[asyncio.Future[None]] = deque()
        self._busy = False

    def infer(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self._queue.append(answer)
        if not self._busy:
            self._busy = True
            # Requests of one moment arrive together, as through one connection.
            loop.call_soon(self._start)
        return answer

    def _start(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._batches.most))]
        if not batch:
            self._busy = False
            return
        seconds = self._batches.base_s + self._batches.row_s * len(batch)
        asyncio.get_running_loop().call_later(seconds, self._finish, batch)

    def _finish(self, batch: list[asyncio.Future[None]]) -> None:
        for answer in batch:
            if not answer.done():
                answer.set_result(None)
        self._start()


class _Simulation:
    def __init__(self, front: Front, loads: Sequence[Load], seed: int) -> None:
        self._front = front
        self._loads = loads
        self._server = _Server(front.batches)
        self._random = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> list[Phase]:
        loop = asyncio.get_running_loop()
        front = self._front
        admissions = [
            Admission(front.settings, workers=front.workers, clock=loop.time, wall=loop.time)
            for _ in range(front.workers)
        ]
        phases: list[Phase] = []
        begin = loop.time()
        for load in self._loads:
            phase = Phase()
            phases.append(phase)
            due, begin = begin, begin + load.seconds
            while (due := due + self._random.expovariate(load.per_s)) < begin:
                await asyncio.sleep(due - loop.time())
                task = loop.create_task(self._request(self._random.choice(admissions), phase))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(begin - loop.time())
        if self._tasks:
            await asyncio.wait(self._tasks)
        for admission in admissions:
            admission.close()
        return phases

    async def _request(self, admission: Admission, phase: Phase) -> None:
        loop = asyncio.get_running_loop()
        since = loop.time()
        deadline = since + self._front.deadline_s
        phase.offered += 1
        try:
            slot = admission.enter(_MODEL, 1, at_once=self._front.batches.most)
            if slot is None:
                slot = await admission.wait(_MODEL, 1, deadline=deadline, priority=0)
        except DeadlineExceeded:
            phase.late += 1
            return
        except PenstockError:
            phase.refused_s.append(loop.time() - since)
            return
        begun = loop.time()
        answer = self._server.infer()
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(answer)
        except TimeoutError:
            phase.late += 1
            slot.leave(loop.time() - begun, status_of(DeadlineExceeded()).outcome)
            admission.lingers(_MODEL, 1, 1)
            await answer
            admission.lingers(_MODEL, 1, -1)
            return
        slot.leave(loop.time() - begun, OK.outcome)
        phase.answered_s.append(loop.time() - since)


def simulate(front: Front, loads: Sequence[Load], *, seed: int = 1) -> list[Phase]:
    """Offer the loads one after the other and return what became of each."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_Simulation(front, loads, seed).run())


MODELS = {
    "batches of 4": Front(Batches()),
    "batches of 4, one worker": Front(Batches(), workers=1),
    "batches of 4, four workers": Front(Batches(), workers=4),
    "no batches": Front(Batches(most=1, base_s=0.020, row_s=0.0)),
    "quick batches of 8": Front(Batches(most=8, base_s=0.003, row_s=0.0003)),
    "slow batches of 16": Front(Batches(most=16, base_s=0.1, row_s=0.005), deadline_s=2.0),
}


def main(seeds: int = 20, seconds: float = 15.0, times: float = 10.0) -> None:
    """Print a line for each model: calm at 0.8 times the capacity, an overload, and calm again."""
    for name, front in MODELS.items():
        capacity = front.batches.capacity
        calm, high = Load(0.8 * capacity, seconds), Load(times * capacity, seconds)
        runs = [simulate(front, [Load(calm.per_s, 3.0), calm, high, calm], seed=seed) for seed in range(seeds)]
        ratios = sorted(over.quantile_s(0.99) / before.quantile_s(0.99) for _, before, over, _ in runs)
        before, over, after = ([run[number] for run in runs] for number in (1, 2, 3))
        sys.stdout.write(
            f"{name}: p99 {_mean(one.quantile_s(0.99) for one in before) * 1e3:.0f} -> "
            f"{_mean(one.quantile_s(0.99) for one in over) * 1e3:.0f} ms, {ratios[len(ratios) // 2]:.2f} times "
            f"(worst {ratios[-1]:.2f}); "
            f"goodput {_mean(len(one.answered_s) / seconds / capacity for one in over):.0%}; "
            f"late {sum(one.late for one in over)}; "
            f"refused when calm {_mean(one.refused_share for one in before):.2%}, "
            f"after it {_mean(one.refused_share for one in after):.2%}\n"
        )
        sys.stdout.flush()


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


if __name__ == "__main__":
    main()
