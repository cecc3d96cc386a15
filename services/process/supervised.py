"""A child process that is started again whenever it dies, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import Awaitable, Callable

from services.core.errors import PenstockError, Unavailable
from services.process.backoff import Backoff
from services.process.bounded_log import BoundedLog
from services.process.child import ChildProcess

_log = logging.getLogger(__name__)

OnStart = Callable[[ChildProcess], Awaitable[None]]
OnExit = Callable[[int], Awaitable[None]]


class Supervised:
    """Keeps one program running.

    ``run`` is the whole life; its owner keeps it in a task and calls ``stop``, or cancels it.

    Args:
        name: What the program is called in the log.
        spawn: Makes the next, unstarted child; called for every start, so arguments may differ from run to run.
        on_start: Runs beside the child from its start on, and is cancelled when the child dies first. If it raises a
            ``PenstockError``, the child is not what it should be: it is stopped and started again.
        on_exit: Runs after every end, before the delay, with the exit status.
        backoff: Delays between an end and the next start.
        grace_s: Seconds from SIGTERM to SIGKILL.
        log: The child's log, kept within its bound here.
        jitter: Source of numbers from 0 to 1.
        trim_every_s: How often the log's size is looked at.
    """

    def __init__(
        self,
        name: str,
        spawn: Callable[[], ChildProcess],
        *,
        on_start: OnStart | None = None,
        on_exit: OnExit | None = None,
        backoff: Backoff | None = None,
        grace_s: float = 10.0,
        log: BoundedLog | None = None,
        jitter: Callable[[], float] = random.random,
        trim_every_s: float = 5.0,
    ) -> None:
        self.name = name
        self.starts = 0
        self._spawn = spawn
        self._on_start = on_start
        self._on_exit = on_exit
        self._backoff = backoff or Backoff()
        self._grace_s = grace_s
        self._log = log
        self._jitter = jitter
        self._trim_every_s = trim_every_s
        self._child: ChildProcess | None = None
        self._companions: list[asyncio.Task[None]] = []
        self._mistake: Exception | None = None
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()

    @property
    def pid(self) -> int | None:
        """Process id of the running child, or None between two runs."""
        return self._child.pid if self._child and self._child.running else None

    async def run(self) -> None:
        """Keep the program running until ``stop`` or a cancellation, and leave nothing behind.

        Raises:
            MissingDependency: There is no such program; trying again would not help.
        """
        self._ended.clear()
        try:
            while not self._stopping.is_set():
                ran_s = await self._one_life()
                if not self._stopping.is_set():
                    delay_s = self._backoff.next_delay_s(ran_s, self._jitter())
                    _log.warning("%s: next start in %.2f s", self.name, delay_s)
                    await self._pause(delay_s)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """End the program and wait for its end; it is not started again.

        ``on_start`` is cancelled first: what it holds, such as connections, may be what the program waits for.
        """
        self._stopping.set()
        await self._dismiss()
        if self._child is not None:
            await self._child.stop(self._grace_s)
        await self._ended.wait()

    async def _one_life(self) -> float:
        """Start the child, wait for its end, and return how many seconds it ran."""
        child = self._child = self._spawn()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            await child.start()
            self.starts += 1
            _log.info("%s: started as process %s", self.name, child.pid)
            if self._stopping.is_set():
                await child.stop(self._grace_s)
            status = await self._accompany(child)
        except Unavailable as error:
            _log.error("%s: %s", self.name, error)
            return 0.0
        finally:
            await child.stop(self._grace_s)
        _log.log(
            logging.INFO if self._stopping.is_set() else logging.WARNING,
            "%s: process %s %s after %.1f s",
            self.name,
            child.pid,
            describe_exit(status),
            loop.time() - began_s,
        )
        if self._on_exit is not None:
            await self._on_exit(status)
        return loop.time() - began_s

    async def _accompany(self, child: ChildProcess) -> int:
        """Wait for the child's end while its companions run."""
        self._companions = [asyncio.create_task(self._keep_log_short())]
        if self._on_start is not None:
            self._companions.append(asyncio.create_task(self._greet(child, self._on_start)))
        try:
            return await child.wait()
        finally:
            await self._dismiss()
            if self._mistake is not None:
                raise self._mistake

    async def _dismiss(self) -> None:
        for task in self._companions:
            task.cancel()
        await asyncio.gather(*self._companions, return_exceptions=True)

    async def _greet(self, child: ChildProcess, on_start: OnStart) -> None:
        try:
            await on_start(child)
        except PenstockError as error:
            _log.error("%s: %s; stopping process %s", self.name, error, child.pid)
            await child.stop(self._grace_s)
        except Exception as mistake:  # noqa: BLE001 - raised again where this task's owner waits for the child
            self._mistake = mistake
            await child.stop(self._grace_s)

    async def _keep_log_short(self) -> None:
        while self._log is not None:
            await asyncio.sleep(self._trim_every_s)
            try:
                self._log.trim()
            except OSError as error:
                _log.warning("%s: cannot shorten %s: %s", self.name, self._log.path, error)

    async def _pause(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
        except TimeoutError:
            return


def describe_exit(status: int) -> str:
    """Say an exit status in words: ``exited with 1`` or ``was killed by SIGSEGV``."""
    if status >= 0:
        return f"exited with {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
