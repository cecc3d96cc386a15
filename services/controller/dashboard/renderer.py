"""Templates to responses, with the headers that keep a page to itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from services.controller.dashboard import words

_HERE = Path(__file__).parent
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A form says its origin only under a policy that lets it: "no-referrer" would make it "null".
HEADERS = {
    "content-security-policy": _POLICY,
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
    "vary": "accept",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages refer to."""

    content: bytes
    media_type: str
    digest: str


class Renderer:
    """The templates and files of this package; read once."""

    def __init__(self) -> None:
        self.assets = {path.name: _asset(path) for path in sorted((_HERE / "static").iterdir())}
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {"asset": self._url}
        self._environment.filters |= {
            "count": words.count,
            "percent": words.percent,
            "moment": words.moment,
            "utc": words.utc,
            "state": words.state,
            "segment": lambda text: quote(str(text), safe=""),
        }

    def text(self, template: str, **values: Any) -> str:
        """Return a template filled in; everything is escaped."""
        return self._environment.get_template(template).render(**values)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return a template as a page."""
        return HTMLResponse(self.text(template, **values), status, HEADERS)

    def fragment(self, html: str) -> Response:
        """Return what was rendered already."""
        return HTMLResponse(html, headers=HEADERS)

    def _url(self, name: str) -> str:
        return f"/assets/{name}?{self.assets[name].digest}"


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, _TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:12])
