"""One child process: in its own process group, logging to a file, and never outliving its parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.core.errors import MissingDependency, Unavailable
from services.process.bounded_log import BoundedLog

_TRAMPOLINE = str(Path(__file__).with_name("die_with_parent.py"))


def dying_with_this_process(argv: Sequence[str]) -> list[str]:
    """Return the command line that runs ``argv`` and, where Linux can, gets it a SIGTERM when this thread ends."""
    return [sys.executable, "-I", "-S", _TRAMPOLINE, str(os.getpid()), str(signal.SIGTERM.value), *argv]


class ChildProcess:
    """A program that is started once and ended once.

    It runs in a process group of its own, so that a Ctrl-C in the terminal reaches only the parent, which then stops
    its children in order, and so that whatever the child left behind can be ended with it. Where Linux can do it, the
    child gets SIGTERM when the thread that started it ends: start it from the main thread.

    Args:
        argv: Program and arguments.
        env: The whole environment, or None for the parent's.
        log: Where its output goes; None leaves it on the parent's.
        cwd: Working directory, or None for the parent's.
        pass_fds: File descriptors that it inherits under the same numbers.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        log: BoundedLog | None = None,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.argv = list(argv)
        self._env = env
        self._log = log
        self._cwd = cwd
        self._pass_fds = tuple(pass_fds)
        self._process: asyncio.subprocess.Process | None = None
        self._group_ended = False

    @property
    def pid(self) -> int | None:
        """Process id, also after the end; None before the start."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether it was started and its end was not seen yet."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the program.

        Raises:
            MissingDependency: There is no such program.
            Unavailable: The machine could not start it.
        """
        path = (self._env or os.environ).get("PATH")
        if shutil.which(self.argv[0], path=path) is None:
            raise MissingDependency(
                f"no program {self.argv[0]}", remedy=f"install {Path(self.argv[0]).name} or correct its path"
            )
        with contextlib.ExitStack() as stack:
            try:
                output = stack.enter_context(self._log.open()) if self._log else None
                self._process = await asyncio.create_subprocess_exec(
                    *dying_with_this_process(self.argv),
                    env=self._env,
                    cwd=self._cwd,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    pass_fds=self._pass_fds,
                )
            except OSError as error:
                raise Unavailable(f"cannot start {self.argv[0]}: {error}") from error

    async def wait(self) -> int:
        """Wait for the end and return the exit status; a signal's number is negative.

        What the program left running in its process group is killed then.
        """
        if self._process is None:
            raise RuntimeError("wait() before start()")
        status = await self._process.wait()
        # Once and at once: later the number may belong to somebody else's group.
        self._signal_group(signal.SIGKILL)
        self._group_ended = True
        return status

    async def stop(self, grace_s: float) -> int | None:
        """Ask the program to end (SIGTERM), and kill it and its group after ``grace_s`` seconds.

        Returns:
            The exit status, or None when it was never started. A second call waits for the same end.
        """
        if self._process is None:
            return None
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                return await self.wait()
        except TimeoutError:
            self._signal_group(signal.SIGKILL)
            return await self.wait()
        except asyncio.CancelledError:
            self._signal_group(signal.SIGKILL)
            raise

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process is not None and not self._group_ended:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
