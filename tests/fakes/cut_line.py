"""A line to a server's socket that can be cut without a word, as a network is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class CutLine:
    """Passes bytes both ways until ``cut``; then takes what comes and passes nothing on, and says nothing of it.

    Attributes:
        port: Where it listens on loopback.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._whole = asyncio.Event()
        self._whole.set()
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Pass nothing on any more."""
        self._whole.clear()

    def mend(self) -> None:
        """Pass on what came meanwhile."""
        self._whole.set()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_unix_connection(self._target)
        for source, sink in ((reader, here), (there, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._whole.wait()
                sink.write(data)
                await sink.drain()
            await self._whole.wait()
        except ConnectionError:
            pass  # whoever is left sees the end of it
        finally:
            sink.close()


@asynccontextmanager
async def cut_line(socket_directory: str) -> AsyncIterator[CutLine]:
    """Run a line to the PostgreSQL whose socket is in a directory."""
    line = CutLine(Path(socket_directory) / ".s.PGSQL.5432")
    await line.start()
    try:
        yield line
    finally:
        line.mend()
        await line.stop()
