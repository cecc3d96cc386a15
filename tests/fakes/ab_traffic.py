"""Clients of an A/B test in front of a real gateway process: they ask over REST and tell of outcomes over gRPC."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import orjson

from services.core.route import Route, RouteTable
from services.pb.penstock.v1 import outcomes_pb2, outcomes_pb2_grpc
from services.triton.http import HttpPool
from tests.fakes.gateway import serving
from tests.fakes.gateway_process import gateway_process

_INPUTS = [{"name": "image", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]
_AT_ONCE = 25
_PAUSE_S = 0.1
_READY_S = 60.0
# No test is under way any more or yet, a worker has an older table, or the controller is away.
_NOT_NOW = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE)


class AbTraffic:
    """Sends requests to the model ``digits`` in a thread of its own. Used as a context.

    Args:
        controller_port: The controller's gRPC port.
        folder: The gateway's state.
        rates: Good outcomes of each version, percent.

    Attributes:
        telling: Set while outcomes are told.
        stored: Outcomes that were stored, by version.
    """

    def __init__(self, controller_port: int, folder: Path, rates: dict[int, int]) -> None:
        self._controller_port, self._folder, self._rates = controller_port, folder, rates
        self._ready, self._stopped, self.telling = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="A/B traffic")
        self._asked: Counter[int] = Counter()
        self.stored: Counter[int] = Counter()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        assert self._ready.wait(_READY_S), "the gateway did not get ready"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(_READY_S)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        async with (
            serving() as triton,
            gateway_process(self._folder, triton.gateway.http_port, self._controller_port, workers=1) as gateway,
        ):
            # Three versions of ``digits``; the standard table has two.
            triton.routes.replace(RouteTable(2, {"digits": Route("digits", 1, versions=frozenset({1, 2, 3}))}))
            await gateway.announced()
            self._ready.set()
            pool = HttpPool("127.0.0.1", gateway.ports["REST"])
            try:
                async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.ports['gRPC']}") as channel:
                    stub = outcomes_pb2_grpc.OutcomeServiceStub(channel)
                    while not self._stopped.is_set():
                        await self._tell(stub, [await self._ask(pool) for _ in range(_AT_ONCE)])
                        await asyncio.sleep(_PAUSE_S)
            finally:
                await pool.aclose()

    async def _ask(self, pool: HttpPool) -> tuple[str, int]:
        """Send one request; return its id and the version that answered, 0 where none did."""
        number = self._asked.total()
        request_id = f"r{number}"
        body = orjson.dumps({"id": request_id, "inputs": _INPUTS})
        headers = {"penstock-routing-key": f"user-{number}"}
        reply = await pool.request("POST", "/v2/models/digits/infer", headers, [body], 10.0)
        version = int(orjson.loads(reply.body)["model_version"]) if reply.status == 200 else 0
        self._asked[version] += 1
        return request_id, version

    async def _tell(self, stub: Any, answered: list[tuple[str, int]]) -> None:
        known = [(request_id, version) for request_id, version in answered if version]
        if not known or not self.telling.is_set():
            return
        feedback = [
            outcomes_pb2.RequestFeedback(id=request_id, outcomes={"clicked": float(self._good(request_id, version))})
            for request_id, version in known
        ]
        try:
            await stub.SendFeedback(outcomes_pb2.SendFeedbackRequest(model="digits", feedback=feedback), timeout=5.0)
        except grpc.aio.AioRpcError as error:
            if error.code() not in _NOT_NOW:
                raise
            return
        self.stored.update(version for _, version in known)

    def _good(self, request_id: str, version: int) -> bool:
        return int(request_id.removeprefix("r")) * 37 % 100 < self._rates[version]
