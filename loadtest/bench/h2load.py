"""h2load (nghttp2), a closed-loop load generator in C that costs a small part of what it measures.

It speaks HTTP/1.1 for REST and HTTP/2 for gRPC, whose requests it sends as ready-made frames. It does not see gRPC's
status trailers, so whoever uses it must count successes at the server.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.errors import MissingDependency, PenstockError

PACKAGE = "nghttp2-client"
INSTALL_TIMEOUT_S = 300
RUN_TIMEOUT_S = 600  # far beyond any real run
_FINISHED = re.compile(r"^finished in .*?, ([0-9.]+) req/s", re.MULTILINE)
_REQUESTS = re.compile(r"^requests: (\d+) total, .* (\d+) succeeded, (\d+) failed", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Shot:
    """One run of h2load.

    Attributes:
        requests: Requests sent; all of them got status 200.
        requests_per_s: As h2load reports it.
        latency_us: Time of each request in microseconds, ascending.
        cpu_s: CPU seconds that h2load itself used.
    """

    requests: int
    requests_per_s: float
    latency_us: NDArray[np.int64]
    cpu_s: float

    def quantile_us(self, q: float) -> float:
        """Return the q-quantile of the latency in microseconds (nearest rank)."""
        return float(self.latency_us[max(0, int(np.ceil(q * len(self.latency_us))) - 1)])


def find_h2load(say: Callable[[str], None]) -> str:
    """Return the program's path; as root with apt-get, install it first where it is missing.

    Raises:
        MissingDependency: It is missing and could not be installed.
    """
    program = shutil.which("h2load")
    if program is None and os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"h2load is missing: installing {PACKAGE} through apt-get")
        _install()
        program = shutil.which("h2load")
    if program is None:
        raise MissingDependency("h2load is not installed", f"sudo apt-get install {PACKAGE}")
    return program


def _install() -> None:
    """Install the package; what goes wrong shows in h2load still missing."""
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", PACKAGE]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (install, ["apt-get", "update", "-qq"], install):
        try:
            done = subprocess.run(command, env=environment, capture_output=True, timeout=INSTALL_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return
        if done.returncode == 0 and command is install:
            return


@dataclass(frozen=True, slots=True)
class H2Load:
    """Sends one request again and again over a number of connections.

    Attributes:
        program: Path of h2load.
        folder: Where its log of single requests is written.
    """

    program: str
    folder: Path

    def shoot(
        self, url: str, body: Path, headers: Mapping[str, str], requests: int, connections: int, *, http1: bool
    ) -> Shot:
        """Send ``requests`` requests, one at a time on each connection.

        Raises:
            PenstockError: A request did not get status 200.
        """
        log = self.folder / "h2load.log"
        log.unlink(missing_ok=True)
        command = [self.program, *(["--h1"] if http1 else []), f"-n{requests}", f"-c{connections}", "-m1", "-t1"]
        command += [f"--data={body}", f"--log-file={log}"]
        command += [f"--header={name}: {value}" for name, value in headers.items()]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            done = subprocess.run([*command, url], capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise PenstockError(f"{url} did not answer {requests} requests within {RUN_TIMEOUT_S} s") from error
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
        rate = parse(done.stdout, requests, url)
        return Shot(requests, rate, read_log(log, requests), cpu_s)


def parse(output: str, requests: int, url: str) -> float:
    """Return the requests per second from h2load's words.

    Raises:
        PenstockError: It did not finish, or a request failed.
    """
    finished, counted = _FINISHED.search(output), _REQUESTS.search(output)
    if finished is None or counted is None:
        raise PenstockError(f"h2load did not finish against {url}; it said: {output[-500:].strip() or 'nothing'}")
    if int(counted[2]) != requests:
        raise PenstockError(f"{requests} requests to {url}, only {counted[2]} succeeded: this would not be a benchmark")
    return float(finished[1])


def read_log(log: Path, requests: int) -> NDArray[np.int64]:
    """Return the latency of each request in microseconds, ascending.

    Raises:
        PenstockError: A line is missing or its status is not 200.
    """
    rows: NDArray[Any] = np.loadtxt(log, dtype=np.int64, ndmin=2)
    if rows.shape != (requests, 3) or (rows[:, 1] != 200).any():  # noqa: PLR2004 - HTTP's OK
        raise PenstockError(f"{log}: expected {requests} requests with status 200, found {rows.shape[0]} rows")
    return np.sort(rows[:, 2])
