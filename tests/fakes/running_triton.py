"""A real Triton for tests: ``penstock triton`` as a child process, on free ports, in a directory of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.core.replica_address import ReplicaAddress
from services.triton.http import HttpPool
from services.triton.layout import RepositoryLayout
from services.triton.triton_members import TritonConnections
from services.triton.triton_model_server import TritonModelServer
from services.triton.triton_upstream import TritonUpstream
from tests.fakes import aio

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 40.0


@dataclass
class RunningTriton:
    """A supervised Triton that runs.

    Attributes:
        http_port: Triton's HTTP port on 127.0.0.1.
        grpc_port: Triton's gRPC port.
        metrics_port: Triton's metrics port.
        memory_port: Where its supervisor says how much memory it has.
        repository: Its model repository.
        state_dir: State directory of the supervisor.
        supervisor: The ``penstock triton`` process.
        first_pid: Process id of the first ``tritonserver``.
    """

    http_port: int
    grpc_port: int
    metrics_port: int
    memory_port: int
    repository: Path
    state_dir: Path
    supervisor: subprocess.Popen[bytes]
    first_pid: int

    @property
    def address(self) -> str:
        """HOST:HTTPPORT/GRPCPORT/MEMORYPORT."""
        return f"127.0.0.1:{self.http_port}/{self.grpc_port}/{self.memory_port}"

    @asynccontextmanager
    async def upstream(self) -> AsyncIterator[TritonUpstream]:
        """Connect for inference."""
        pool = HttpPool("127.0.0.1", self.http_port)
        try:
            yield TritonUpstream(pool)
        finally:
            await pool.aclose()

    @asynccontextmanager
    async def model_server(self) -> AsyncIterator[TritonModelServer]:
        """Connect for loading."""
        address = ReplicaAddress("127.0.0.1", self.http_port, self.grpc_port)
        connections = TritonConnections(address, RepositoryLayout(self.repository))
        try:
            yield connections.server
        finally:
            await connections.aclose()

    def load(self, model: str, *versions: int) -> None:
        """Load exactly these versions of a model."""

        async def load() -> None:
            async with self.model_server() as server:
                await server.load(model, frozenset(versions))

        aio.run(load(), timeout_s=60.0)

    def stop(self) -> int:
        """End it as Kubernetes would, and return the exit status of the supervisor."""
        self.supervisor.send_signal(signal.SIGTERM)
        return self.supervisor.wait(_STOP_TIMEOUT_S)


@contextmanager
def running_triton(repository: Path, state_dir: Path, exit_timeout_s: int = 10) -> Iterator[RunningTriton]:
    """Run ``penstock triton`` on free ports until the context ends; what it remembers is loaded, at first nothing."""
    ports = [f"--{name}-port=0" for name in ("http", "grpc", "metrics", "memory")]
    command = [sys.executable, "-m", "services.cli.main", "triton", "--json", *ports]
    command += ["--exit-timeout-s", str(exit_timeout_s)]
    state_dir.mkdir(parents=True, exist_ok=True)
    errors = state_dir / "supervisor.log"
    with errors.open("ab") as stderr:
        process = subprocess.Popen(
            [*command, "--repository", str(repository), "--state-dir", str(state_dir)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        said = _read_document(process, errors)
        http, grpc, metrics, memory = (said[f"{name}_port"] for name in ("http", "grpc", "metrics", "memory"))
        yield RunningTriton(http, grpc, metrics, memory, repository, state_dir, process, said["pid"])
    finally:
        _end(process)


def _read_document(process: subprocess.Popen[bytes], errors: Path) -> dict[str, int]:
    """Return the JSON that the command prints when Triton is ready."""
    watchdog = threading.Timer(_START_TIMEOUT_S, process.kill)
    watchdog.start()
    text = b""
    assert process.stdout is not None
    try:
        while not text.rstrip().endswith(b"}"):
            line = process.stdout.readline()
            assert line, f"penstock triton ended before Triton was ready:\n{errors.read_text()}"
            text += line
    finally:
        watchdog.cancel()
    document: dict[str, int] = json.loads(text)
    return document


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_TIMEOUT_S)
    if process.stdout is not None:
        process.stdout.close()
