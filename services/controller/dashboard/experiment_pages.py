"""The page that starts an A/B test of a model."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.controller.dashboard.archive import Archive
from services.controller.dashboard.experiment_form import (
    ARMS,
    ExperimentForm,
    fresh_experiment,
    place_of,
    read_experiment,
)
from services.controller.dashboard.form_token import remember, token_of
from services.controller.dashboard.guard import own_form
from services.controller.dashboard.model_page import ModelPage
from services.controller.dashboard.model_pages import read_model_page
from services.controller.dashboard.renderer import HEADERS, Renderer
from services.controller.operations import Operations
from services.controller.overview import Overview
from services.core.errors import PenstockError, status_of

_SEE_OTHER = 303
_WRONG = 400


class ExperimentPages:
    """Answers for ``/models/{model}/experiment``.

    Args:
        operations: Starts rollouts.
        archive: Rollouts of a model.
        overview: What is published and routed.
        renderer: Templates.
    """

    def __init__(self, *, operations: Operations, archive: Archive, overview: Overview, renderer: Renderer) -> None:
        self._operations = operations
        self._archive = archive
        self._overview = overview
        self._renderer = renderer

    async def show(self, request: Request) -> Response:
        """The form with its defaults."""
        page = await self._page(request)
        return self._shown(request, page, fresh_experiment(page.choices[0] if page.choices else None))

    async def start(self, request: Request) -> Response:
        """Begin a test, or say beside each field what is wrong with it."""
        form = ExperimentForm(await own_form(request))
        page = await self._page(request)
        checked = read_experiment(form, page.line.name)
        if isinstance(checked, ExperimentForm):
            return self._shown(request, page, checked, _WRONG)
        try:
            started = await self._operations.start(*checked)
        except PenstockError as error:
            wrong = form.with_errors({place_of(error.message, form): error.message})
            return self._shown(request, page, wrong, status_of(error).http)
        return RedirectResponse(f"/rollouts/{quote(started.id, safe='')}", _SEE_OTHER, HEADERS)

    async def _page(self, request: Request) -> ModelPage:
        return await read_model_page(request.path_params["model"], self._overview, self._archive)

    def _shown(self, request: Request, page: ModelPage, form: ExperimentForm, status: int = 200) -> Response:
        token = token_of(request)
        shown = self._renderer.page("experiment.html.j2", status, page=page, form=form, all_arms=ARMS, token=token)
        remember(shown, token)
        return shown
