"""The route table as it is now, and a way to wait for the next one."""

from __future__ import annotations

import asyncio

from services.controller.store import RouteBook


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

    def publish(self, book: RouteBook) -> None:
        """Show a table, unless a newer one is shown already."""
        if self._book is None or book.generation > self._book.generation:
            self._book = book
            self._wake()

    def close(self) -> None:
        """Let every reader end."""
        self._closed = True
        self._wake()

    async def newer_than(self, generation: int) -> RouteBook | None:
        """Wait for a table beyond a generation and return it; None when the board is closed."""
        while not self._closed:
            changed = self._changed
            if self._book is not None and self._book.generation > generation:
                return self._book
            await changed.wait()
        return None

    def _wake(self) -> None:
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()
