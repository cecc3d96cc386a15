"""Constant open-loop load from a thread of its own: a request is due every so often, whatever became of the others."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple, Self

from loadtest.bench.model import BenchModel
from loadtest.chaos.grpc_client import GrpcClient
from loadtest.chaos.journal import Entry, Journal
from loadtest.chaos.rest_client import RestClient
from loadtest.payload import Interface, Payload, grpc_payloads, rest_payloads
from loadtest.schedule import Process, offsets

_END_TIMEOUT_S = 30.0


class Clients:
    """REST and gRPC requests in turn, over keep-alive connections. A context: the load lasts as long as it does.

    Each has until ``deadline_s`` after the moment at which it was due; then it has failed. Nothing is retried.

    Attributes:
        journal: What became of every request.
        deadline_s: Time for an answer.

    Args:
        rest: HOST:PORT of the gateway's REST.
        grpc: HOST:PORT of its gRPC.
        models: Asked in turn.
        rate_per_s: Requests per second.
        deadline_s: Time for an answer.
    """

    def __init__(
        self, rest: str, grpc: str, models: Sequence[BenchModel], rate_per_s: float, deadline_s: float
    ) -> None:
        self.journal = Journal()
        self._rest, self._grpc = rest, grpc
        self._rate_per_s = rate_per_s
        self.deadline_s = deadline_s
        self._kinds = [
            _Kind(protocol, model.interface, payloads(model.interface, model.sample(), 1)[0])
            for model in models
            for protocol, payloads in (("rest", rest_payloads), ("grpc", grpc_payloads))
        ]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="clients", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_END_TIMEOUT_S)

    @property
    def running(self) -> bool:
        """Whether requests are being sent; False after a defect of the generator, which is in the standard error."""
        return self._thread.is_alive()

    async def _run(self) -> None:
        rest, grpc = RestClient(self._rest), GrpcClient(self._grpc)
        begun = time.monotonic()
        try:
            async with asyncio.TaskGroup() as requests:
                turns = itertools.cycle(self._kinds)
                for offset in offsets(Process.CONSTANT, self._rate_per_s, seed=0):
                    await asyncio.sleep(begun + offset - time.monotonic())
                    if self._stop.is_set():
                        break
                    requests.create_task(self._send(rest, grpc, next(turns), begun + offset))
        finally:
            rest.close()
            await grpc.aclose()

    async def _send(self, rest: RestClient, grpc: GrpcClient, kind: _Kind, due: float) -> None:
        # asyncio's clock is time.monotonic: a moment on one is a moment on the other.
        deadline, resent, late_s = due + self.deadline_s, False, time.monotonic() - due
        if kind.protocol == "rest":
            failure, resent = await rest.send(kind.interface, kind.payload, deadline)
        else:
            failure = await grpc.send(kind.interface, kind.payload, deadline - time.monotonic())
        self.journal.note(Entry(due, time.monotonic() - due, kind.protocol, failure, resent, late_s))


class _Kind(NamedTuple):
    """One model over one protocol."""

    protocol: str
    interface: Interface
    payload: Payload
