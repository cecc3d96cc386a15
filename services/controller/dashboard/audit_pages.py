"""The pages of the audit log: who did what, also what was refused."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from services.controller.dashboard.audit_page import AuditLogPage, audit_log_page, audit_query
from services.controller.dashboard.fragments import Fragments
from services.controller.dashboard.renderer import Renderer
from services.controller.events.event_feed import EventFeed
from services.controller.operations import Operations
from services.controller.storage.store import AuditQuery


class AuditPages:
    """Answers for ``/audit``.

    Args:
        operations: Reads the log.
        renderer: Templates.
        fragments: What was rendered already.
        feed: What was told last.
        clock: Wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        *,
        operations: Operations,
        renderer: Renderer,
        fragments: Fragments,
        feed: EventFeed,
        clock: Callable[[], float],
    ) -> None:
        self._operations = operations
        self._renderer = renderer
        self._fragments = fragments
        self._feed = feed
        self._clock = clock

    async def show(self, request: Request) -> Response:
        """The whole page."""
        page = await self._page(audit_query(request.query_params))
        return self._renderer.page("audit.html.j2", page=page)

    async def live(self, request: Request) -> Response:
        """The parts of the page that change."""
        asked = audit_query(request.query_params)

        async def render() -> str:
            return self._renderer.text("_audit.html.j2", page=await self._page(asked))

        stamp = (self._feed.last, int(self._clock()))
        return self._renderer.fragment(await self._fragments.html(asked, stamp, render))

    async def _page(self, asked: AuditQuery) -> AuditLogPage:
        return audit_log_page(asked, await self._operations.audit(asked))
