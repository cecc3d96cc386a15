"""Who asks: a person's browser or a program."""

from __future__ import annotations

from starlette.datastructures import Headers

_HTML = ("text/html", "application/xhtml+xml")


def prefers_html(headers: Headers) -> bool:
    """Return whether a client asks for a page by name, and not for JSON more than for that."""
    weights = dict(_accepted(headers.get("accept", "")))
    html = max((weights[name] for name in _HTML if name in weights), default=0.0)
    return html > 0 and html >= weights.get("application/json", 0.0)


def _accepted(header: str) -> list[tuple[str, float]]:
    found = []
    for item in header.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        quality = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        found.append((name, float(quality) if quality.replace(".", "", 1).isdecimal() else 0.0))
    return found
