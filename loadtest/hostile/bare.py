"""A Triton on its own: the very program that ``penstock triton`` runs, without anybody in front of it or behind it.

What a case does to it is told from outside: it ended, and by which signal; it no longer answers; its memory grew; a
file appeared that only code of the client's could have written.
"""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil

from loadtest.bench.ports import free_ports
from loadtest.hostile.models import ECHO, REPEAT
from loadtest.hostile.wire import http
from services.core.errors import PenstockError

_START_S = 60.0
_PROBE_S = 2.0
_POLL_S = 0.05
_OPTIONS = re.compile(r"--(http-port|grpc-port|metrics-port|model-control-mode|exit-timeout-secs|backend-config)=")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the kernel has it
PROBE = b'{"inputs":[{"name":"INT8","datatype":"INT8","shape":[1],"data":[7]}]}'


def post(path: str, body: bytes, *headers: str) -> bytes:
    """Return a whole POST request."""
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def answers(address: str, timeout_s: float = _PROBE_S) -> bool:
    """Whether an ordinary inference is answered."""
    return http(address, post(f"/v2/models/{ECHO}/infer", PROBE), timeout_s).status == 200  # noqa: PLR2004 - HTTP


def regions_of(prefix: str) -> tuple[str, ...]:
    """Return the names of the regions of shared memory that begin with a prefix."""
    return tuple(sorted(path.name for path in _SHARED_MEMORY.glob(f"{prefix}*")))


class BareTriton:
    """One Triton process, on free ports.

    Args:
        like: A running ``tritonserver`` whose command line and environment are taken over.
        folder: For its log.
    """

    def __init__(self, like: psutil.Process, folder: Path) -> None:
        command, self._environment = like.cmdline(), like.environ()
        self._prefix = f"hostile-{like.pid}"
        backends = ("python", "onnxruntime")
        self._command = [word for word in command if not _OPTIONS.match(word)] + [
            *(f"--backend-config={backend},shm-region-prefix-name={self._prefix}" for backend in backends),
            "--model-control-mode=explicit",
            *(f"--load-model={model}" for model in (ECHO, REPEAT)),
            "--exit-timeout-secs=1",
        ]
        self._log = folder / "bare-triton.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.rest = self.grpc = ""

    def ensure(self) -> None:
        """Start it, unless it runs and answers."""
        if self._process is not None and self._process.poll() is None and answers(self.rest):
            return
        self.stop()
        ports = free_ports(3)
        options = [f"--{name}-port={port}" for name, port in zip(("http", "grpc", "metrics"), ports, strict=True)]
        self.rest, self.grpc = f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, *options], env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + _START_S
        while not answers(self.rest):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise PenstockError(f"a bare Triton does not start; {self._log} says why")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Kill it with its Python processes, and remove the shared memory that a kill leaves."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        # Those of a Triton that died by itself are nobody's children any more; the prefix is on their command lines.
        for process in psutil.process_iter(["cmdline"]):
            if any(self._prefix in argument for argument in process.info["cmdline"] or ()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        for region in _SHARED_MEMORY.glob(f"{self._prefix}*"):
            region.unlink(missing_ok=True)

    def regions(self) -> tuple[str, ...]:
        """Return the names of the shared memory between it and its Python processes."""
        return regions_of(self._prefix)

    @property
    def resident_mib(self) -> int:
        """Its memory and that of its Python processes; 0 when it has ended."""
        total = 0
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                own = psutil.Process(self._process.pid)
                for process in (own, *own.children(recursive=True)):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        total += process.memory_info().rss
        return total >> 20

    def ended(self) -> str:
        """Return how it ended, in words; empty while it runs."""
        status = None if self._process is None else self._process.poll()
        if status is None:
            return ""
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"
