"""One rendering for all who look on: of each page for itself, and nobody waits for long."""

import asyncio

import pytest

from services.controller.dashboard.fragments import Fragments
from services.core.errors import Unavailable

pytestmark = pytest.mark.anyio


class Rendering:
    """Is there when it is told to be."""

    def __init__(self, html: str) -> None:
        self.html, self.made, self.go = html, 0, asyncio.Event()

    async def __call__(self) -> str:
        self.made += 1
        await self.go.wait()
        return self.html


async def test_a_page_is_rendered_once_for_all_who_look_on() -> None:
    fragments, page = Fragments(), Rendering("<p>")
    looking = [asyncio.create_task(fragments.html("a", 1, page)) for _ in range(5)]
    await asyncio.sleep(0)
    page.go.set()
    assert await asyncio.gather(*looking) == ["<p>"] * 5
    assert page.made == 1
    await fragments.html("a", 2, page)
    assert page.made == 2


async def test_a_page_that_hangs_holds_up_no_other() -> None:
    fragments, stuck, quick = Fragments(), Rendering("<p>"), Rendering("<b>")
    quick.go.set()
    hanging = asyncio.create_task(fragments.html("stuck", 1, stuck))
    await asyncio.sleep(0)
    async with asyncio.timeout(10.0):
        assert await fragments.html("quick", 1, quick) == "<b>"
    stuck.go.set()
    assert await hanging == "<p>"


async def test_nobody_waits_for_long_for_what_somebody_else_has_rendered() -> None:
    fragments, page = Fragments(patience_s=0.05), Rendering("<p>")
    first = asyncio.create_task(fragments.html("a", 1, page))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match=r"within 0\.05 s"):
        await fragments.html("a", 1, page)
    page.go.set()
    assert await first == "<p>"
    assert await fragments.html("a", 1, page) == "<p>"
    assert page.made == 1
