"""A small real HTTP and gRPC server of the Open Inference Protocol whose latency, errors and mistakes are scripted.

Its model ``echo`` takes FP32 [-1, 10] and answers the input itself as scores, so the right class of a row is its
largest element. It runs in a thread of its own; ports are free ones.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import grpc
import numpy as np
import orjson
from tritonclient.grpc import service_pb2, service_pb2_grpc

CLASSES = 10
MODEL = "echo"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What happens to one request.

    Attributes:
        delay_s: Time before the answer.
        status: HTTP status; other than 200 is an error, over gRPC INTERNAL or, for 503, UNAVAILABLE.
        wrong: Whether the scores are turned around.
        version: The version that the answer names.
        role: The role that the answer names; empty for none.
        hang_up: Whether the connection is closed instead of an answer (HTTP only).
    """

    delay_s: float = 0.0
    status: int = 200
    wrong: bool = False
    version: str = "1"
    role: str = ""
    hang_up: bool = False


Script = Callable[[int, float], Behaviour]


def always(**fields: Any) -> Script:
    """Return a script that treats every request alike."""
    behaviour = Behaviour(**fields)
    return lambda _number, _elapsed_s: behaviour


def stall(from_s: float, to_s: float) -> Script:
    """Return a script that answers nothing between two times since the first request, then everything."""
    return lambda _number, elapsed_s: Behaviour(delay_s=to_s - elapsed_s if from_s <= elapsed_s < to_s else 0.0)


class FakeInferenceServer:
    """The server; a context manager that ends what it started.

    Args:
        script: Called with the request's number and the seconds since the first request.
        ready: Whether the server and its model say that they are ready.
    """

    def __init__(self, script: Script | None = None, *, ready: bool = True) -> None:
        self.script = script or always()
        self.ready = ready
        self.requests = 0
        self.connections = 0
        self.arrived_s: list[float] = []
        self.rest = ""
        self.grpc = ""
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="fake-inference-server")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10), "the fake server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the fake server did not end"

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        http = await asyncio.start_server(self._http, "127.0.0.1", 0)
        self.rest = f"127.0.0.1:{http.sockets[0].getsockname()[1]}"
        server = grpc.aio.server()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Servicer(self), server)
        self.grpc = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        self._started.set()
        await self._end.wait()
        http.close()
        http.close_clients() if hasattr(http, "close_clients") else None
        await server.stop(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def next_behaviour(self) -> Behaviour:
        """Count a request and return what happens to it."""
        now = time.monotonic()
        self.arrived_s.append(now)
        self.requests += 1
        return self.script(self.requests - 1, now - self.arrived_s[0])

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        async with _closing(writer):
            while True:
                try:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                except (asyncio.IncompleteReadError, ConnectionError):
                    return
                request, *lines = head.rstrip().split("\r\n")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                _, path, _ = request.split(" ")
                answer = await self._answer(path, headers, body)
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()

    async def _answer(self, path: str, headers: dict[str, str], body: bytes) -> bytes | None:
        if path.endswith("/ready"):
            return _http_answer(
                200 if self.ready and path in ("/v2/health/ready", f"/v2/models/{MODEL}/ready") else 400
            )
        if path == f"/v2/models/{MODEL}":
            return _http_answer(200, orjson.dumps(_METADATA))
        if path != f"/v2/models/{MODEL}/infer":
            return _http_answer(404, b'{"error":"not found"}')
        behaviour = self.next_behaviour()
        await asyncio.sleep(behaviour.delay_s)
        if behaviour.hang_up:
            return None
        if behaviour.status != 200:
            return _http_answer(behaviour.status, b'{"error":"as scripted"}')
        json_size = int(headers["inference-header-content-length"])
        shape = orjson.loads(body[:json_size])["inputs"][0]["shape"]
        data = _scores(body[json_size:], behaviour)
        output = {"name": "scores", "datatype": "FP32", "shape": shape, "parameters": {"binary_data_size": len(data)}}
        document = orjson.dumps({"model_name": MODEL, "model_version": behaviour.version, "outputs": [output]})
        extra = f"Inference-Header-Content-Length: {len(document)}\r\n"
        extra += f"penstock-role: {behaviour.role}\r\n" if behaviour.role else ""
        return _http_answer(200, document + data, extra)


class _Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc] # generated code is untyped
    def __init__(self, server: FakeInferenceServer) -> None:
        self._server = server

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol names it
        return service_pb2.ServerReadyResponse(ready=self._server.ready)

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol names it
        return service_pb2.ModelReadyResponse(ready=self._server.ready and request.name == MODEL)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol names it
        return service_pb2.ModelMetadataResponse(**_METADATA)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol names it
        behaviour = self._server.next_behaviour()
        await asyncio.sleep(behaviour.delay_s)
        if behaviour.status != 200:
            code = grpc.StatusCode.UNAVAILABLE if behaviour.status == 503 else grpc.StatusCode.INTERNAL
            await context.abort(code, "as scripted")
        if behaviour.role:
            context.set_trailing_metadata((("penstock-role", behaviour.role),))
        response = service_pb2.ModelInferResponse(model_name=MODEL, model_version=behaviour.version)
        response.outputs.add(name="scores", datatype="FP32", shape=request.inputs[0].shape)
        response.raw_output_contents.append(_scores(request.raw_input_contents[0], behaviour))
        return response


_METADATA = {
    "name": MODEL,
    "versions": ["1"],
    "platform": "fake",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, CLASSES]}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, CLASSES]}],
}


def _scores(data: bytes, behaviour: Behaviour) -> bytes:
    return (-np.frombuffer(data, np.float32)).tobytes() if behaviour.wrong else data


def _http_answer(status: int, body: bytes = b"", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status} Scripted\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


@asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
