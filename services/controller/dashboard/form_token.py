"""Proof that a form was on a page of ours: the same random text in the form and in a cookie that no page can read.

No secret is kept here, so a form stays good when the controller restarts or another one answers. A foreign page can
send the cookie along but cannot know it; that the request names this origin is asked beside it (``same_origin.py``).
"""

from __future__ import annotations

import hmac
import secrets

from starlette.requests import Request
from starlette.responses import Response

FIELD = "form_token"
COOKIE = "penstock_form"
_BYTES = 32
_LENGTH = 43  # of so many bytes in base64 without padding


def token_of(request: Request) -> str:
    """Return the token of the browser that asks, or a new one where it has none."""
    known = request.cookies.get(COOKIE, "")
    return known if len(known) == _LENGTH else secrets.token_urlsafe(_BYTES)


def remember(response: Response, token: str) -> None:
    """Give the browser its token."""
    response.set_cookie(COOKIE, token, httponly=True, samesite="strict", path="/")


def matches(request: Request, said: str) -> bool:
    """Return whether a form's token is that of the browser which sends it."""
    known = request.cookies.get(COOKIE, "")
    return len(known) == _LENGTH and hmac.compare_digest(known.encode(), said.encode())
