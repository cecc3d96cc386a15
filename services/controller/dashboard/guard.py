"""What every page has in common: errors become pages, and forms are asked where they come from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.controller.api.same_origin import is_own_form
from services.controller.dashboard.form_body import form_values
from services.controller.dashboard.form_token import FIELD, matches
from services.controller.dashboard.renderer import Renderer
from services.core.errors import Forbidden, PenstockError, status_of

Endpoint = Callable[[Request], Awaitable[Response]]


def guarded(path: str, endpoint: Endpoint, renderer: Renderer, method: str = "GET") -> Route:
    """Return a route whose errors are pages.

    Args:
        path: As Starlette takes it.
        endpoint: Answers.
        renderer: Renders the error.
        method: The HTTP method.
    """

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except PenstockError as error:
            return error_page(renderer, status_of(error).http, error.message)

    return Route(path, answer, methods=[method], include_in_schema=False)


def error_page(renderer: Renderer, status: int, message: str) -> Response:
    """Return an error as a page."""
    return renderer.page("error.html.j2", status, code=status, message=message)


async def own_form(request: Request) -> dict[str, str]:
    """Return the fields of a form that was on a page of ours.

    Raises:
        Forbidden: It was not, or nothing says so.
        InvalidRequest, UnsupportedEncoding: It cannot be read.
    """
    values = await form_values(request)
    if not is_own_form(request.headers) or not matches(request, values.pop(FIELD, "")):
        raise Forbidden(
            "this form does not come from a page of this dashboard, or its cookie is gone; nothing was changed. "
            "Go back, load the page again and send the form from there"
        )
    return values
