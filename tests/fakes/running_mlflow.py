"""A real MLflow server for tests, on a free port of loopback, with a database and artifacts in a folder of its own.

The server is in ``.venv/mlflow``, where ``make install`` puts it; the environment itself has MLflow's client alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from services.process.ports import choose_free_port

FOLDER = Path(sys.prefix) / "mlflow"
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 20.0
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class RunningMlflow:
    """A server that runs.

    Attributes:
        port: Its port on 127.0.0.1.
        artifacts: The folder that has its artifacts: ``<experiment>/<run>/artifacts``.
    """

    port: int
    artifacts: Path

    @property
    def address(self) -> str:
        """Where it is, as MLflow's own users write it."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running_mlflow(folder: Path) -> Iterator[RunningMlflow]:
    """Run ``mlflow server`` until the end of the context."""
    assert (FOLDER / "mlflow").is_dir(), f"{FOLDER} has no MLflow server: make install"
    port, artifacts, log = choose_free_port(), folder / "artifacts", folder / "server.log"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(artifacts)]
    own = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**own, **_SETTINGS, "PYTHONPATH": str(FOLDER)},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = RunningMlflow(port, artifacts)
    try:
        _await_health(process, running.address, log)
        yield running
    finally:
        _end(process)


def _await_health(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"mlflow server ended before it was ready:\n{log.read_text()}"
        try:
            if httpx2.get(f"{address}/health", timeout=2.0, trust_env=False).is_success:
                return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"mlflow server was not ready within {_START_TIMEOUT_S:g} s:\n{log.read_text()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server with its workers, which are in its process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait(_STOP_TIMEOUT_S)
