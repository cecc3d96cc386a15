"""What was rendered once is given to everybody who follows: a change costs one rendering, however many look on."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from services.core.errors import Unavailable

_KEPT = 64


class Fragments:
    """The last rendering of each page's live parts.

    Args:
        patience_s: Longest wait for a rendering that somebody else began. What holds one up, such as a database that
            does not answer, would hold up each of those who wait for it in turn.
    """

    def __init__(self, patience_s: float = 5.0) -> None:
        self._patience_s = patience_s
        self._kept: OrderedDict[Hashable, tuple[Hashable, str]] = OrderedDict()
        # Of the pages that are being rendered, and no others.
        self._turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    async def html(self, page: Hashable, stamp: Hashable, render: Callable[[], Awaitable[str]]) -> str:
        """Return a page's parts; rendered anew where the stamp is another than the last.

        Args:
            page: Which page.
            stamp: Differs whenever what is shown does.
            render: Renders them; what it raises is raised here.

        Raises:
            Unavailable: Somebody else has them rendered, and that takes too long.
        """
        async with self._turn(page):
            kept = self._kept.get(page)
            if kept is None or kept[0] != stamp:
                kept = self._kept[page] = (stamp, await render())
            self._kept.move_to_end(page)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return kept[1]

    @asynccontextmanager
    async def _turn(self, page: Hashable) -> AsyncIterator[None]:
        turn = self._turns.setdefault(page, asyncio.Lock())
        try:
            async with asyncio.timeout(self._patience_s):
                await turn.acquire()
        except TimeoutError as error:
            raise Unavailable(
                f"this page was being put together for somebody else and was not there within {self._patience_s:g} s; "
                "the controller's /readyz says whether the database answers"
            ) from error
        try:
            yield
        finally:
            turn.release()
