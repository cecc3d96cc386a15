"""A browser without JavaScript in front of the dashboard of a ``ControlPlane``."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import httpx2

from tests.fakes.control_plane import ControlPlane

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
OWN = {"origin": "http://controller", "sec-fetch-site": "same-origin"}
ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
FAST = [{"weight_percent": 5, "duration_s": 3, "min_requests": 20}, {"weight_percent": 50, "duration_s": 300}]


def browsing(world: ControlPlane) -> httpx2.AsyncClient:
    """Return a client that asks for pages; a context."""
    transport = httpx2.ASGITransport(world.app(), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://controller", headers=BROWSER)


async def begin(client: httpx2.AsyncClient, world: ControlPlane, actor: str = "ada") -> None:
    """Start a rollout of ``digits`` to version 2, and go on until it is in its first step."""
    body = {"model": "digits", "version": 2, "steps": FAST, "actor": actor}
    assert (await client.post("/v1/rollouts", json=body)).status_code == 201
    await world.tick(4)


async def token(client: httpx2.AsyncClient, path: str) -> str:
    """Return what the form on a page proves its origin by."""
    page = await client.get(path)
    found = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
