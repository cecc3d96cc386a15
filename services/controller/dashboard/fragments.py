"""What was rendered once is given to everybody who follows: a change costs one rendering, however many look on."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable

_KEPT = 64


class Fragments:
    """The last rendering of each page's live parts."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[Hashable, str]] = OrderedDict()
        self._lock = asyncio.Lock()

    async def html(self, page: Hashable, stamp: Hashable, render: Callable[[], Awaitable[str]]) -> str:
        """Return a page's parts; rendered anew where the stamp is another than the last.

        Args:
            page: Which page.
            stamp: Differs whenever what is shown does.
            render: Renders them; what it raises is raised here.
        """
        async with self._lock:
            kept = self._kept.get(page)
            if kept is None or kept[0] != stamp:
                kept = self._kept[page] = (stamp, await render())
            self._kept.move_to_end(page)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return kept[1]
