"""``penstock gateway`` as a child process, with its ports read from what it prints."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from services.triton.http import HttpPool

_PORT = re.compile(r"gateway (REST|gRPC|metrics): \S*?:(\d+)(?:/metrics)?$")


class GatewayProcess:
    """A running gateway.

    Attributes:
        process: The parent.
        ports: ``REST``, ``gRPC`` and ``metrics``.
        errors: Everything it wrote to standard error, after the end.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.ports: dict[str, int] = {}
        self.errors = ""

    async def announced(self) -> None:
        """Wait for the line of every port."""
        assert self.process.stdout is not None
        while len(self.ports) < 3:
            line = (await self.process.stdout.readline()).decode().strip()
            assert line, "the gateway ended before it was ready"
            if match := _PORT.fullmatch(line):
                self.ports[match[1]] = int(match[2])

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes that live now."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a name with these labels, from one scrape."""
        pool = HttpPool("127.0.0.1", self.ports["metrics"])
        try:
            text = (await pool.request("GET", "/metrics", timeout_s=10.0)).body.decode()
        finally:
            await pool.aclose()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    async def terminate(self) -> int:
        """Ask it to drain, and return its exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        _, errors = await self.process.communicate()
        self.errors += errors.decode()
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def gateway_process(
    state_dir: Path,
    triton_port: int | str,
    controller_port: int,
    *options: str,
    workers: int = 2,
    before: Sequence[str] = (),
) -> AsyncIterator[GatewayProcess]:
    """Run a gateway on free ports, in front of a Triton at HTTP or ``HTTP/GRPC``; it is drained at the end.

    ``before`` are a program and its arguments that become the gateway.
    """
    process = await asyncio.create_subprocess_exec(
        *before,
        sys.executable,
        "-m",
        "services.cli.main",
        "gateway",
        *("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"),
        *("--workers", str(workers), "--state-dir", str(state_dir)),
        *("--triton", f"127.0.0.1:{triton_port}", "--controller", f"127.0.0.1:{controller_port}"),
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        limit=1 << 20,
    )
    running = GatewayProcess(process)
    try:
        yield running
    finally:
        await running.terminate()
