"""Reads of the model repository that somebody waits for: each in a thread of its own, a few at a time, with a bound.

A file system that hangs keeps its threads for as long as it hangs. These are no threads of the event loop's pool, which
look-ups of names, forecasts and pages need too, and they do not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from services.core.errors import Unavailable

Result = TypeVar("Result")


class RepositorySilent(Unavailable):
    """The repository did not answer in time."""


class RepositoryReads:
    """Makes reads.

    Args:
        timeout_s: Longest wait for one, the wait for its turn included.
        most: Reads at a time; one that is not waited for any more counts until it ends.
    """

    def __init__(self, timeout_s: float = 5.0, most: int = 4) -> None:
        self._timeout_s = timeout_s
        self._free = asyncio.Semaphore(most)

    async def read(self, work: Callable[[], Result]) -> Result:
        """Return what some work in a thread returns; its own errors are raised as they are.

        Raises:
            RepositorySilent: It does not answer in time.
            Unavailable: It cannot be read.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._free.acquire()
                return await asyncio.wrap_future(self._begun(work))
        except TimeoutError as error:
            raise RepositorySilent(f"the model repository does not answer within {self._timeout_s:g} s") from error
        except OSError as error:
            raise Unavailable(f"the model repository cannot be read: {error}") from error

    def _begun(self, work: Callable[[], Result]) -> Future[Result]:
        loop, future = asyncio.get_running_loop(), Future[Result]()
        future.set_running_or_notify_cancel()  # whoever gives up waiting for it does not end it

        def run() -> None:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                future.set_exception(error)
            else:
                future.set_result(result)
            with suppress(RuntimeError):  # the loop may be over
                loop.call_soon_threadsafe(self._free.release)

        threading.Thread(target=run, name="repository", daemon=True).start()
        return future
