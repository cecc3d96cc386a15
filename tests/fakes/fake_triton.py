"""A Triton's HTTP side in the test's own process, which can be killed, frozen, made to fail and brought back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from services.core.replica_address import ReplicaAddress

Reply = tuple[int, dict[str, Any]]

NOT_LOADED: Reply = (404, {"error": "Request for unknown model: 'm' has no available versions"})
INTERNAL: Reply = (500, {"error": "the model failed"})
STUB_DIED: Reply = (500, {"error": "Stub process 'm_0_0' is not healthy."})
QUEUE_FULL: Reply = (503, {"error": "Exceeds maximum queue size"})
INVALID: Reply = (400, {"error": "unexpected shape for input 'X'"})
CONFIG: dict[str, Any] = {
    "max_batch_size": 8,
    "model_warmup": [
        {"name": "one", "batch_size": 1, "inputs": {"X": {"data_type": "TYPE_INT8", "dims": ["1"], "zero_data": True}}}
    ],
}
# A model whose requests may be merged.
MERGING: dict[str, Any] = {"name": "m", "max_batch_size": 64, "dynamic_batching": {}, "backend": "onnxruntime"}
METADATA = {
    "inputs": [{"name": "X", "datatype": "INT8", "shape": [-1, 1]}],
    "outputs": [{"name": "Y", "datatype": "INT8", "shape": [-1, 1]}],
}


@dataclass
class FakeTriton:
    """One replica.

    Attributes:
        port: Its HTTP port, the same for all of its lives.
        ready: What it says of its readiness.
        frozen: While set, it takes requests and answers nothing at all, as after SIGSTOP.
        stuck: While set, inferences are not answered; everything else is.
        delay_s: How long an inference takes.
        reply: What inferences get instead of an answer; None for an answer.
        breaks: Whether the process dies at an inference (its connection only) without an answer.
        lies: Whether answers make no sense.
        echoes: Whether output Y is input X, with every row of it; else it is one row, whatever came.
        config: The model's configuration.
        inferences: Bodies of all inferences that it got.
        heads: Their heads.
        looks: How often it was asked whether it is ready.
        on_inference: Called with each body, for what no attribute says.
    """

    port: int = 0
    ready: bool = True
    frozen: bool = False
    stuck: bool = False
    delay_s: float = 0.0
    reply: Reply | None = None
    breaks: bool = False
    lies: bool = False
    echoes: bool = False
    config: dict[str, Any] = field(default_factory=lambda: dict(CONFIG))
    inferences: list[bytes] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    looks: int = 0
    on_inference: Callable[[bytes], None] | None = None
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def address(self) -> ReplicaAddress:
        """Where it is; nobody listens at its gRPC port."""
        return ReplicaAddress("127.0.0.1", self.port, 1)

    @property
    def name(self) -> str:
        """HOST:PORT."""
        return self.address.name

    @property
    def rows(self) -> list[list[bytes]]:
        """The rows of input X of every inference that it got."""
        return [list(_input_of(head, body).rows) for head, body in zip(self.heads, self.inferences, strict=True)]

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        """End as by SIGKILL: every connection is reset, and nobody listens."""
        if self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.transport.abort()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_content_length(head))
                await self._answer(head, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        path = head.split(b" ")[1]
        infers = path.endswith(b"/infer")
        if infers:
            self.inferences.append(body)
            self.heads.append(head)
            if self.on_inference is not None:
                self.on_inference(body)
            if self.breaks:
                writer.transport.abort()
                return
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
        while self.frozen or (infers and self.stuck):  # noqa: ASYNC110 - as good as an event, and simpler to set
            await asyncio.sleep(0.01)
        status, document, data = self._document(path)
        if infers and self.echoes and status == 200:
            document, data = _echo(_input_of(head, body))
        text = b"nonsense" if infers and self.lies else document
        lines = b"Inference-Header-Content-Length: %d\r\n" % len(text) if infers and status == 200 else b""
        answer = b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n%b%b"
        writer.write(answer % (status, lines, len(text) + len(data), text, data))
        await writer.drain()

    def _document(self, path: bytes) -> tuple[int, bytes, bytes]:
        if path.endswith(b"/health/ready"):
            self.looks += 1
            return (200 if self.ready else 400), b"", b""
        if path.endswith(b"/infer"):
            if self.reply is not None:
                return self.reply[0], orjson.dumps(self.reply[1]), b""
            output = {"name": "Y", "datatype": "INT8", "shape": [1, 1], "parameters": {"binary_data_size": 1}}
            return 200, orjson.dumps({"model_name": "m", "model_version": "1", "outputs": [output]}), b"\x07"
        if path.endswith(b"/config"):
            return 200, orjson.dumps(self.config), b""
        if path.endswith(b"/ready"):
            return (200 if self.reply is None else 400), b"", b""
        return 200, orjson.dumps(METADATA | {"name": self.name}), b""


@asynccontextmanager
async def fake_tritons(count: int) -> AsyncIterator[list[FakeTriton]]:
    """Run several until the context ends."""
    tritons = [FakeTriton() for _ in range(count)]
    try:
        for triton in tritons:
            await triton.start()
        yield tritons
    finally:
        for triton in tritons:
            await triton.kill()


@dataclass
class _Input:
    """What came as the first input."""

    shape: list[int]
    datatype: str
    data: bytes

    @property
    def rows(self) -> Iterator[bytes]:
        width = len(self.data) // self.shape[0]
        return (self.data[begin : begin + width] for begin in range(0, len(self.data), width))


def _input_of(head: bytes, body: bytes) -> _Input:
    length = _number(head, b"inference-header-content-length")
    found = orjson.loads(body[:length])["inputs"][0]
    size = found["parameters"]["binary_data_size"]
    return _Input(found["shape"], found["datatype"], body[length : length + size])


def _echo(came: _Input) -> tuple[bytes, bytes]:
    parameters = {"binary_data_size": len(came.data)}
    output = {"name": "Y", "datatype": came.datatype, "shape": came.shape, "parameters": parameters}
    return orjson.dumps({"model_name": "m", "model_version": "1", "outputs": [output]}), came.data


def _content_length(head: bytes) -> int:
    return _number(head, b"content-length")


def _number(head: bytes, header: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == header:
            return int(value)
    return 0
