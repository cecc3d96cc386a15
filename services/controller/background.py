"""Work in the background, one piece of it at a time for each key, owned by whoever is entered as a context."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

_LOG = logging.getLogger(__name__)
Key = TypeVar("Key", bound=Hashable)


class Background(Generic[Key]):
    """The tasks. What is under way at the end of the context is cancelled.

    Args:
        ended: Called with a key when its task has ended, whatever the end.
    """

    def __init__(self, ended: Callable[[Key], None] = lambda _: None) -> None:
        self._ended = ended
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._tasks.values())
        self.cancel_all()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __contains__(self, key: Key) -> bool:
        """Whether work for a key is under way, or is just being cancelled."""
        return key in self._tasks

    def begin(self, key: Key, work: Coroutine[Any, Any, None], name: str) -> None:
        """Begin work for a key that has none; it handles its own errors, and what escapes it is a defect and logged."""
        task = self._tasks[key] = asyncio.create_task(work, name=name)
        task.add_done_callback(lambda done: self._end(key, done))

    def keep(self, wanted: Callable[[Key], bool]) -> None:
        """End the work for every key that is not wanted."""
        for key, task in self._tasks.items():
            if not wanted(key):
                task.cancel()

    def cancel_all(self) -> None:
        """End all of it."""
        for task in self._tasks.values():
            task.cancel()

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    def _end(self, key: Key, task: asyncio.Task[None]) -> None:
        del self._tasks[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("%s ended with a defect", task.get_name(), exc_info=error)
        self._ended(key)


class BackgroundOwner(Generic[Key]):
    """Has work in the background. Used as a context: what is under way at its end is cancelled.

    Args:
        ended: As for ``Background``.
    """

    def __init__(self, ended: Callable[[Key], None] = lambda _: None) -> None:
        self._running = Background[Key](ended)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._running.__aexit__(kind, error, trace)

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        await self._running.idle()
