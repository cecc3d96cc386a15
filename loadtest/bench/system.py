"""The system under measurement: ``penstock triton``, ``controller`` and ``gateway`` as processes, on free ports."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import orjson
import psutil
from prometheus_client.parser import text_string_to_metric_families

from loadtest.bench.model import NAME
from loadtest.connection import HttpConnection
from loadtest.record import Failure
from services.core.errors import PenstockError, UpstreamFailure

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 40.0
HTTP_TIMEOUT_S = 5.0
_OK = 200
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One side of the comparison."""

    name: str
    rest: str
    grpc: str


class System:
    """Triton, a controller and a gateway that serve one repository. A context: it ends what it started.

    Args:
        repository: Models to serve.
        folder: Where state and logs go.
        workers: Worker processes of the gateway.
    """

    def __init__(self, repository: Path, folder: Path, workers: int) -> None:
        ports = _free_ports(8)
        local = [f"127.0.0.1:{port}" for port in ports]
        self.direct = Endpoint("direct", local[0], local[1])
        self.gateway = Endpoint("gateway", local[5], local[6])
        self._metrics = local[7]
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: dict[str, IO[bytes]] = {}
        state = str(folder / "state")
        where = ["--repository", str(repository), "--state-dir", state]
        self._commands = {
            "triton": [*where, *_ports(http=ports[0], grpc=ports[1], metrics=ports[2])],
            "controller": [*where, *_ports(http=ports[3], grpc=ports[4]), "--triton", local[0]],
            "gateway": [
                *("--state-dir", state, *_ports(http=ports[5], grpc=ports[6], metrics=ports[7])),
                *("--triton", local[0], "--controller", local[4], "--workers", str(workers)),
            ],
        }

    def __enter__(self) -> Self:
        try:
            (self._folder / "state").mkdir(parents=True)
            for verb, options in self._commands.items():
                self._logs[verb] = (self._folder / f"{verb}.log").open("wb")
                # A group of its own: a Ctrl-C must not reach it before the measurement has ended.
                self._processes[verb] = subprocess.Popen(
                    [sys.executable, "-m", "services.cli.main", verb, *options],
                    stdout=self._logs[verb],
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            for endpoint in (self.direct, self.gateway):
                self._await_ready(endpoint)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes in reverse order, and kill what does not end in time."""
        for verb, process in reversed(self._processes.items()):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            self._logs[verb].close()

    def cpu_s(self, verb: str) -> float:
        """Return the CPU seconds that a process and its children have used."""
        total = 0.0
        parent = psutil.Process(self._processes[verb].pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def triton_version(self) -> str:
        """Return the version that Triton reports."""
        return str(orjson.loads(_get(self.direct.rest, "/v2"))["version"])

    def triton_successes(self) -> int:
        """Return how many requests Triton has answered with success."""
        document = orjson.loads(_get(self.direct.rest, f"/v2/models/{NAME}/stats"))
        return sum(int(one["inference_stats"]["success"]["count"]) for one in document["model_stats"])

    def gateway_successes(self, protocol: str) -> int:
        """Return how many requests the gateway has answered with success over one protocol."""
        wanted = {"model": NAME, "protocol": protocol, "outcome": "ok"}
        total = 0.0
        for family in text_string_to_metric_families(_get(self._metrics, "/metrics").decode()):
            if family.name == "penstock_requests":
                samples: list[Any] = [one for one in family.samples if one.name == "penstock_requests_total"]
                total += sum(one.value for one in samples if wanted.items() <= one.labels.items())
        return int(total)

    def _await_ready(self, endpoint: Endpoint) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        http = HttpConnection(endpoint.rest, HTTP_TIMEOUT_S)
        with contextlib.closing(http):
            while True:
                outcome = http.exchange("GET", f"/v2/models/{NAME}/ready")
                if not isinstance(outcome, Failure) and outcome[0] == _OK:
                    return
                for verb, process in self._processes.items():
                    if process.poll() is not None:
                        raise PenstockError(f"penstock {verb} ended with {process.returncode}: {self._tail(verb)}")
                if time.monotonic() > deadline:
                    said = "; ".join(f"{verb}: {self._tail(verb)}" for verb in self._processes)
                    raise PenstockError(f"{endpoint.name} is not ready after {START_TIMEOUT_S:g} s. {said}")
                time.sleep(_POLL_S)

    def _tail(self, verb: str) -> str:
        lines = (self._folder / f"{verb}.log").read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:]) or "it said nothing"


def _get(address: str, path: str) -> bytes:
    http = HttpConnection(address, HTTP_TIMEOUT_S)
    with contextlib.closing(http):
        outcome = http.exchange("GET", path)
    if isinstance(outcome, Failure) or outcome[0] != _OK:
        found = outcome.message if isinstance(outcome, Failure) else f"status {outcome[0]}"
        raise UpstreamFailure(f"{address}{path}: {found}")
    return bytes(outcome[1].body)


def _ports(**ports: int) -> list[str]:
    return [word for name, port in ports.items() for word in (f"--{name}-port", str(port))]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
