"""The route table as it is now, and a way to wait for the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.controller.storage.store import RouteBook


class RouteBoard:
    """Holds the newest route table; a reader that is slow skips to the newest and misses nothing that still counts.

    Empty until the first table is read from the store: a controller that knows nothing yet says nothing.
    """

    def __init__(self) -> None:
        self._book: RouteBook | None = None
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def book(self) -> RouteBook | None:
        """The newest table, or None before the first."""
        return self._book

    @property
    def generation(self) -> int:
        """The generation of the newest table; 0 before the first."""
        return self._book.generation if self._book is not None else 0

    def publish(self, book: RouteBook) -> None:
        """Show a table, unless a newer one is shown already."""
        if self._book is None or book.generation > self._book.generation:
            self._book = book
            self.wake()

    def close(self) -> None:
        """Let every reader end."""
        self._closed = True
        self.wake()

    async def newer_than(self, generation: int, wanted: Callable[[], bool] = lambda: True) -> RouteBook | None:
        """Wait for a table beyond a generation and return it; None when the board is closed.

        Args:
            generation: The table that is known.
            wanted: Looked at after every ``wake``; None is returned as soon as it is false.
        """
        while not self._closed and wanted():
            changed = self._changed
            if self._book is not None and self._book.generation > generation:
                return self._book
            await changed.wait()
        return None

    def wake(self) -> None:
        """Let every reader look whether it still wants to wait."""
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()
