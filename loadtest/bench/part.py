"""One process of the system: started, signalled, restarted, and measured with its children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from loadtest.bench.variables import inherited
from services.core.errors import PenstockError

STOP_TIMEOUT_S = 40.0
KILL_TIMEOUT_S = 10.0


def owned(command: Sequence[str]) -> list[str]:
    """Return the command line that runs a command and gets it a SIGTERM when this process ends, even by a kill.

    The thread that starts it must be the main one: its end counts.
    """
    owner = ("-m", "services.process.die_with_parent", str(os.getpid()), str(int(signal.SIGTERM)))
    return [sys.executable, *owner, *command]


class Part:
    """A ``penstock`` verb as a process of its own, or any other program that serves.

    Attributes:
        name: What reports call it.
        rest: HOST:PORT of its HTTP side.
        grpc: HOST:PORT of its gRPC side; empty where it has none.
        metrics: HOST:PORT of its metrics; empty where it has none.

    Args:
        name: See above.
        command: Program and arguments; they stay the same at every start.
        log: File for its output; later starts append.
        rest: See above.
        grpc: See above.
        metrics: See above.
        environment: Variables over those of this process, of which it gets no settings (``variables.inherited``).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        rest: str,
        grpc: str = "",
        metrics: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.rest, self.grpc, self.metrics = name, rest, grpc, metrics
        self._command = list(command)
        self._log = log
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; whether it serves is for others to find out."""
        with self._log.open("ab") as log:
            # A group of its own: a Ctrl-C must not reach it before the measurement has ended.
            self._process = subprocess.Popen(
                self._command,
                env={**inherited(os.environ), **self._environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int | None:
        """Send SIGTERM, wait, kill what does not end in time, and return the exit status."""
        if self._process is None:
            return None
        process, family = self._process, self.family()
        self._process = None
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _kill(family[1:])
        return process.returncode

    def kill(self) -> None:
        """Kill the process and all its children at once."""
        if self._process is not None:
            process, family = self._process, self.family()
            self._process = None
            process.kill()
            process.wait()
            _kill(family[1:])

    def signal(self, number: int) -> None:
        """Send a signal to the process and all its children."""
        for process in self.family():
            process.send_signal(number)

    def restart(self) -> None:
        """Stop and start again, on the same ports."""
        self.stop()
        self.start()

    def died(self) -> int | None:
        """Return the exit status of a process that ended without being told to; None for any other."""
        return self._process.poll() if self._process is not None else None

    def family(self) -> list[psutil.Process]:
        """Return the process and all its descendants, itself first; empty when it has ended."""
        if self._process is None or self._process.poll() is not None:
            return []
        try:
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def child(self, words: str) -> psutil.Process:
        """Return the first descendant whose command line contains ``words``, such as ``tritonserver``.

        Raises:
            PenstockError: There is none.
        """
        for process in self.family()[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                if words in " ".join(process.cmdline()):
                    return process
        raise PenstockError(f"{self.name} has no child with '{words}' in its command line; it may be restarting")

    def workers(self) -> list[psutil.Process]:
        """Return a gateway's worker processes."""
        found: list[psutil.Process] = []
        for process in self.family()[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                if "services.gateway.worker" in process.cmdline():
                    found.append(process)
        return found

    def cpu_s(self) -> float:
        """Return the CPU seconds that the process and its living descendants have used."""
        total = 0.0
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def tail(self) -> str:
        """Return the end of its log, in one line."""
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.is_file() else []
        return " | ".join(lines[-3:]) or "it said nothing"


def _kill(processes: Sequence[psutil.Process]) -> None:
    """Kill them and wait until they are gone; the kernel needs a moment."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, KILL_TIMEOUT_S)
