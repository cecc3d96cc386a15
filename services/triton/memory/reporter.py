"""Says over HTTP how much memory a Triton has and what each version takes of it, beside its supervisor.

Only someone on Triton's own machine, in its own container, sees its limit and its processes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self

from services.core.errors import PenstockError, UpstreamFailure
from services.core.memory.report import MemoryReport
from services.process.asgi import Receive, Scope, Send
from services.process.asgi_server import AsgiServer
from services.triton.http import HttpPool
from services.triton.layout import RepositoryLayout
from services.triton.memory.exposition import exposed, report_in
from services.triton.memory.machine import host_space
from services.triton.memory.processes import version_memory
from services.triton.stub_watch import StubWatch

_PATH = "/metrics"
_TIMEOUT_S = 1.0
_MOST_BYTES = 8 << 20


class MemoryReporter:
    """Used as a context, in which it answers on a socket.

    Args:
        listener: A bound socket; closed at the end.
        repository: The models that Triton serves.
        pid: Returns Triton's process id, None between two runs.
        metrics: Returns host and port of Triton's own metrics, which know its GPUs.
    """

    def __init__(
        self,
        listener: socket.socket,
        repository: RepositoryLayout,
        pid: Callable[[], int | None],
        metrics: Callable[[], tuple[str, int]],
    ) -> None:
        self._repository, self._pid, self._metrics = repository, pid, metrics
        self._server = AsgiServer(self, listener)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer ``GET /metrics``; a Triton that is down has no versions."""
        if scope["type"] != "http":
            return
        del receive  # a request without a body is complete
        asked = scope["method"] == "GET" and scope["path"] == _PATH
        body = await self._report() if asked else f"there is only GET {_PATH} here\n"
        content = body.encode()
        fields = [
            (b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),
            (b"content-length", str(len(content)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200 if asked else 404, "headers": fields})
        await send({"type": "http.response.body", "body": content})

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.port

    async def _report(self) -> str:
        pid = self._pid()
        host = await asyncio.to_thread(host_space)
        versions = {}
        if pid is not None:
            versions = await asyncio.to_thread(version_memory, StubWatch(pid, self._repository.root))
        return exposed(MemoryReport(host, (await self._of_triton()).gpus, versions))

    async def _of_triton(self) -> MemoryReport:
        """Return what Triton itself says; nothing where it does not."""
        try:
            return await read_report(*self._metrics(), timeout_s=_TIMEOUT_S)
        except PenstockError:
            return MemoryReport()


async def read_report(host: str, port: int, timeout_s: float) -> MemoryReport:
    """Ask a port for its metrics and return what they say of memory.

    Raises:
        UpstreamFailure: It answers something else than metrics.
        PenstockError: It does not answer.
    """
    pool = HttpPool(host, port, max_connections=1, max_response_bytes=_MOST_BYTES)
    try:
        response = await pool.request("GET", _PATH, {"Connection": "close"}, timeout_s=timeout_s)
        if response.status != 200:  # noqa: PLR2004 - OK
            raise UpstreamFailure(f"{_PATH} is answered with status {response.status}, expected 200")
        return report_in(bytes(response.body).decode("utf-8", "replace"))
    finally:
        await pool.aclose()
