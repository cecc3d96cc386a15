"""The pages of one model: what is published, loaded and routed, and the start of a rollout."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.controller.dashboard.archive import Archive
from services.controller.dashboard.form_token import remember, token_of
from services.controller.dashboard.fragments import Fragments
from services.controller.dashboard.guard import own_form
from services.controller.dashboard.model_page import ModelPage, model_page
from services.controller.dashboard.renderer import HEADERS, Renderer
from services.controller.dashboard.start_form import STEP_ROWS, StartForm, fresh_form, place, read
from services.controller.events.event_feed import EventFeed
from services.controller.operations import Operations
from services.controller.overview import Overview
from services.core.errors import PenstockError, status_of

_SEE_OTHER = 303
_WRONG = 400


async def read_model_page(name: str, overview: Overview, archive: Archive) -> ModelPage:
    """Return what is shown of a model as it is now; errors as in ``Overview.model`` and ``Archive.latest``."""
    return model_page(overview.model(name), await archive.latest(name), overview.serving(name))


class ModelPages:
    """Answers for ``/models/{model}`` and what is below it.

    Args:
        operations: Starts rollouts.
        archive: Rollouts of a model.
        overview: What is published, loaded and routed.
        feed: Its last number says whether anything changed.
        renderer: Templates.
        fragments: What was rendered already.
    """

    def __init__(
        self,
        *,
        operations: Operations,
        archive: Archive,
        overview: Overview,
        feed: EventFeed,
        renderer: Renderer,
        fragments: Fragments,
    ) -> None:
        self._operations = operations
        self._archive = archive
        self._overview = overview
        self._feed = feed
        self._renderer = renderer
        self._fragments = fragments

    async def show(self, request: Request) -> Response:
        """The whole page, with a form of defaults."""
        page = await self._page(request)
        return self._shown(request, page, fresh_form(page.choices[0] if page.choices else None))

    async def live(self, request: Request) -> Response:
        """The parts of the page that change."""

        async def render() -> str:
            return self._renderer.text("_model.html.j2", page=await self._page(request))

        page = ("model", request.path_params["model"])
        return self._renderer.fragment(await self._fragments.html(page, self._feed.last, render))

    async def start(self, request: Request) -> Response:
        """Begin a rollout, or say beside each field what is wrong with it."""
        form = StartForm(await own_form(request))
        page = await self._page(request)
        checked = read(form, page.line.name)
        if isinstance(checked, StartForm):
            return self._shown(request, page, checked, _WRONG)
        try:
            started = await self._operations.start(*checked)
        except PenstockError as error:
            wrong = form.with_errors({place(error.message): error.message})
            return self._shown(request, page, wrong, status_of(error).http)
        return RedirectResponse(f"/rollouts/{quote(started.id, safe='')}", _SEE_OTHER, HEADERS)

    async def _page(self, request: Request) -> ModelPage:
        return await read_model_page(request.path_params["model"], self._overview, self._archive)

    def _shown(self, request: Request, page: ModelPage, form: StartForm, status: int = 200) -> Response:
        token = token_of(request)
        shown = self._renderer.page("model.html.j2", status, page=page, form=form, rows=range(STEP_ROWS), token=token)
        remember(shown, token)
        return shown
