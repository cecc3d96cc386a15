"""A real controller for tests: ``penstock controller`` as a child process, that can be killed and started again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from services.process.ports import choose_free_ports

_ROOT = Path(__file__).parents[2]
_WAIT_S = 60.0
_STOP_S = 15.0


class RunningController:
    """A controller on ports that stay the same over restarts.

    Args:
        repository: The model repository.
        triton: The addresses of the Tritons, as the setting takes them.
        state_dir: Where database and log are.
        options: Further ones.
    """

    def __init__(self, repository: Path, triton: str, state_dir: Path, *options: str) -> None:
        self.http_port, self.grpc_port = choose_free_ports(2)
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.log = state_dir / "controller.log"
        self.command = [
            *(sys.executable, "-m", "services.cli.main", "controller"),
            *("--http-port", str(self.http_port), "--grpc-port", str(self.grpc_port)),
            *("--repository", str(repository), "--triton", triton),
            *("--state-dir", str(state_dir), "--tick-s", "0.2", *options),
        ]
        state_dir.mkdir(parents=True, exist_ok=True)
        self.process = self._spawn()

    def start_again(self) -> None:
        """Start it after its end."""
        self.process = self._spawn()

    def kill(self) -> None:
        """End it without a word."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(_STOP_S)

    def stop(self) -> int:
        """End it as Kubernetes would, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_S)

    def get(self, path: str) -> Any:
        """Return a document; None while nobody answers."""
        try:
            return httpx2.get(self.url + path, timeout=5.0, trust_env=False).json()
        except httpx2.TransportError:
            return None

    def post(self, path: str, document: object) -> httpx2.Response:
        """Send a document."""
        return httpx2.post(self.url + path, json=document, timeout=10.0, trust_env=False)

    def until(self, path: str, holds: Callable[[Any], bool]) -> Any:
        """Return a document once something holds of it."""
        deadline = time.monotonic() + _WAIT_S
        document = None
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            document = self.get(path)
            if document is not None and holds(document):
                return document
            time.sleep(0.1)
        raise AssertionError(f"{path} never became what was waited for: {document}\n{self.log.read_text()[-4000:]}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(self.command, cwd=_ROOT, stdout=log, stderr=log)


@contextmanager
def running_controller(repository: Path, triton: str, state_dir: Path, *options: str) -> Iterator[RunningController]:
    """Run ``penstock controller`` until the context ends."""
    controller = RunningController(repository, triton, state_dir, *options)
    try:
        yield controller
    finally:
        if controller.process.poll() is None:
            controller.process.send_signal(signal.SIGTERM)
            try:
                controller.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                controller.kill()
