"""Keeps pages of other sites from using a person's browser: whatever they send here names where it comes from."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN = frozenset({"same-origin", "none"})
_FORBIDDEN = 403


class SameOrigin:
    """ASGI middleware that refuses what a browser sends on behalf of another site.

    Clients that are no browsers send neither ``Sec-Fetch-Site`` nor ``Origin`` and pass.

    Args:
        app: The application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what reads, and what changes something and comes from here or from no browser."""
        if scope["type"] == "http" and scope["method"] not in _READING and is_foreign(Headers(scope=scope)):
            words = "this request was made by a page of another site, and is refused; open the dashboard itself"
            await JSONResponse({"error": words}, _FORBIDDEN)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def is_foreign(headers: Headers) -> bool:
    """Return whether headers say that a page of another origin made a request."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in _OWN:
        return True
    return origin is not None and _host_of(origin) != headers.get("host", "").lower()


def is_own_form(headers: Headers) -> bool:
    """Return whether headers say that a page of this very origin made a request: silence does not say so."""
    said = headers.get("sec-fetch-site") is not None or headers.get("origin") is not None
    return said and not is_foreign(headers)


def _host_of(origin: str) -> str | None:
    """Return host and port of an origin; None where it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
