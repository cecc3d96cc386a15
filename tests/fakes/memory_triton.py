"""A Triton in the test's process that shares memory: it keeps regions, and reads inputs from the files in /dev/shm."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from tests.fakes import aio
from tests.fakes.fake_triton import FakeTriton, Reply

_DIRECTORY = Path("/dev/shm")
_HEADER_LENGTH = b"inference-header-content-length"
_REGION = "shared_memory_region"

ALREADY = "already in manager"


class Region(NamedTuple):
    """What was registered."""

    key: str
    offset: int
    byte_size: int


class Read(NamedTuple):
    """One input as it was read.

    Attributes:
        name: Its name.
        data: Its bytes.
        offset: Where in the region they were; None for one that came through the socket.
    """

    name: str
    data: bytes
    offset: int | None


class Inference(NamedTuple):
    """One inference as it came: its header, and its inputs as they were at that moment."""

    header: dict[str, Any]
    inputs: list[Read]

    @property
    def in_memory(self) -> bool:
        """Whether any input was read from shared memory."""
        return any(read.offset is not None for read in self.inputs)


@dataclass
class MemoryTriton(FakeTriton):
    """A ``FakeTriton`` that echoes every input as an output of its name.

    Inputs are read when an inference comes and again when it is answered or has failed: what changed in between is
    ``torn``.

    Attributes:
        refuses: Whether it cannot open memory.
        regions: What is registered, by name.
        asked: What it was asked about memory: ``status``, ``register NAME`` or ``unregister NAME``.
        served: Every inference whose inputs it could read.
        headers: The header of every inference, those that it could not read among them.
        unknown: How many inferences named a region that it does not know.
        fates: What becomes of the next inferences: ``answer``, ``error``, ``break`` or ``silence``; then of all the
            later ones ``answer``.
        torn: Inferences whose inputs changed while they were under way.
        forgets: Whether it says that it registers memory, and does not, like one of several behind one address.
        speaks: Set, inferences that were fated to silence go on.
        pause: While set, questions about memory wait.
    """

    refuses: bool = False
    regions: dict[str, Region] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    served: list[Inference] = field(default_factory=list)
    headers: list[dict[str, Any]] = field(default_factory=list)
    unknown: int = 0
    fates: deque[str] = field(default_factory=deque)
    torn: list[Inference] = field(default_factory=list)
    forgets: bool = False
    speaks: asyncio.Event = field(default_factory=asyncio.Event)
    pause: bool = False

    async def kill(self) -> None:
        """End as by SIGKILL; whatever was registered is forgotten."""
        if self._server is not None:
            # What asyncio has accepted when its server is closed it would neither serve nor close.
            for listener in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listener.fileno())
            await aio.turns(5)
        await super().kill()
        self.regions.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)  # before its task runs: one that never does closes nothing
        super()._accept(reader, writer)

    async def _answer(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        path = head.split(b" ")[1].decode()
        if path.startswith("/v2/systemsharedmemory"):
            while self.pause:  # noqa: ASYNC110 - as good as an event, and simpler to set
                await asyncio.sleep(0.001)
            await _send(writer, *self._memory(path, body))
        elif path.endswith("/infer"):
            await self._infer(head, body, writer)
        else:
            await super()._answer(head, body, writer)

    def _memory(self, path: str, body: bytes) -> tuple[int, bytes]:
        *_, name, action = path.split("/")
        self.asked.append("status" if action == "status" else f"{action} {name}")
        if action == "status":
            found = [{"name": name, **region._asdict()} for name, region in self.regions.items()]
            return 200, orjson.dumps(found)
        if action == "unregister":
            self.regions.pop(name, None)
            return 200, b""
        wanted = Region(**orjson.loads(body))
        if name in self.regions:
            return 400, orjson.dumps({"error": f"shared memory region '{name}' {ALREADY}"})
        if self.refuses or not (_DIRECTORY / wanted.key[1:]).exists():
            return 400, orjson.dumps({"error": f"Unable to open shared memory region: '{wanted.key}'"})
        if not self.forgets:
            self.regions[name] = wanted
        return 200, b""

    async def _infer(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        header, data = _parted(head, body)
        self.headers.append(header)
        self.inferences.append(body)
        self.heads.append(head)
        lost = [i["parameters"][_REGION] for i in header["inputs"] if _REGION in i["parameters"]]
        if not set(lost) <= set(self.regions):
            self.unknown += 1
            error = f"Unable to find shared memory region: '{lost[0]}'"
            await _send(writer, 400, orjson.dumps({"error": error}))
            return
        came = Inference(header, self._read(header, data))
        self.served.append(came)
        fate = self.fates.popleft() if self.fates else "answer"
        regions = dict(self.regions)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        while self.stuck:  # noqa: ASYNC110 - as good as an event, and simpler to set
            await asyncio.sleep(0.001)
        if fate == "silence":
            await self.speaks.wait()
        if self._read(header, data, regions) != came.inputs:
            self.torn.append(came)
        if fate == "break":
            writer.transport.abort()
            return
        reply = (500, {"error": "the model failed"}) if fate == "error" else self.reply
        await self._reply(writer, came, reply)

    async def _reply(self, writer: asyncio.StreamWriter, came: Inference, reply: Reply | None) -> None:
        if reply is not None:
            await _send(writer, reply[0], orjson.dumps(reply[1]))
            return
        outputs = [
            {
                "name": read.name,
                "datatype": given["datatype"],
                "shape": given["shape"],
                "parameters": {"binary_data_size": len(read.data)},
            }
            for given, read in zip(came.header["inputs"], came.inputs, strict=True)
        ]
        document: dict[str, Any] = {"model_name": "m", "model_version": "1", "outputs": outputs}
        if "id" in came.header:
            document["id"] = came.header["id"]
        await _send(writer, 200, orjson.dumps(document), b"".join(read.data for read in came.inputs))

    def _read(self, header: dict[str, Any], data: bytes, regions: dict[str, Region] | None = None) -> list[Read]:
        found, begin = [], 0
        for given in header["inputs"]:
            parameters = given["parameters"]
            if _REGION not in parameters:
                end = begin + parameters["binary_data_size"]
                found.append(Read(given["name"], data[begin:end], None))
                begin = end
                continue
            region = (self.regions if regions is None else regions)[parameters[_REGION]]
            offset, size = parameters["shared_memory_offset"], parameters["shared_memory_byte_size"]
            assert offset + size <= region.byte_size
            found.append(Read(given["name"], _read_file(region, offset, size), offset))
        assert begin == len(data), "bytes that no input has"
        return found


def _read_file(region: Region, offset: int, size: int) -> bytes:
    opened = os.open(_DIRECTORY / region.key[1:], os.O_RDONLY)
    try:
        return os.pread(opened, size, region.offset + offset)
    finally:
        os.close(opened)


def _parted(head: bytes, body: bytes) -> tuple[dict[str, Any], bytes]:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == _HEADER_LENGTH:
            header: dict[str, Any] = orjson.loads(body[: int(value)])
            return header, body[int(value) :]
    raise AssertionError("an inference without the length of its header")


async def _send(writer: asyncio.StreamWriter, status: int, document: bytes, data: bytes = b"") -> None:
    line = b"Inference-Header-Content-Length: %d\r\n" % len(document) if status == 200 and document else b""
    head = b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n" % (status, line, len(document) + len(data))
    writer.write(head + document + data)
    await writer.drain()


@asynccontextmanager
async def memory_triton() -> AsyncIterator[MemoryTriton]:
    """Run one until the context ends."""
    triton = MemoryTriton()
    try:
        await triton.start()
        yield triton
    finally:
        triton.pause = triton.stuck = False
        await triton.kill()
