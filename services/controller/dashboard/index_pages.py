"""The first page, and the files that pages refer to."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from services.controller.dashboard.archive import Archive
from services.controller.dashboard.fragments import Fragments
from services.controller.dashboard.index_page import IndexPage, index_page
from services.controller.dashboard.renderer import HEADERS, Renderer
from services.controller.events.event_feed import EventFeed
from services.controller.overview import Overview
from services.core.errors import NotFound

_A_YEAR = "public, max-age=31536000, immutable"


class IndexPages:
    """Answers for ``/`` and ``/assets``.

    Args:
        archive: The latest rollouts.
        overview: Models, readiness, workers.
        feed: Its last number says whether anything changed.
        renderer: Templates.
        fragments: What was rendered already.
    """

    def __init__(
        self, archive: Archive, overview: Overview, feed: EventFeed, renderer: Renderer, fragments: Fragments
    ) -> None:
        self._archive = archive
        self._overview = overview
        self._feed = feed
        self._renderer = renderer
        self._fragments = fragments

    async def show(self, _request: Request) -> Response:
        """The whole page."""
        return self._renderer.page("index.html.j2", page=await self._page())

    async def live(self, _request: Request) -> Response:
        """The parts of the page that change."""

        async def render() -> str:
            return self._renderer.text("_index.html.j2", page=await self._page())

        return self._renderer.fragment(await self._fragments.html("", self._feed.last, render))

    async def asset(self, request: Request) -> Response:
        """A file; its address changes with its content, so it may be kept."""
        asset = self._renderer.assets.get(request.path_params["name"])
        if asset is None:
            raise NotFound("no such file")
        return Response(asset.content, media_type=asset.media_type, headers=HEADERS | {"cache-control": _A_YEAR})

    async def _page(self) -> IndexPage:
        workers = len(self._overview.routes()["workers"])
        return index_page(self._overview.models(), await self._archive.latest(), self._overview.readiness(), workers)
