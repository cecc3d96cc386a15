"""An OpenAPI description as a page for people, which needs nothing from elsewhere: no script, no style, no CDN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

PATH = "/docs"
_METHODS = ("get", "post", "put", "patch", "delete")
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_HEADERS = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


def add_api_page(app: FastAPI) -> None:
    """Serve the page at ``/docs``, in place of the viewers that FastAPI loads from a CDN.

    Args:
        app: The application, made with ``docs_url=None`` and ``redoc_url=None``.
    """

    @app.get(PATH, include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(api_page(app.openapi()), headers=_HEADERS)


def api_page(description: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI 3.1 description."""
    info = description["info"]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta name="color-scheme" content="light dark">\n<title>{title}</title>\n</head>\n<body>\n<main>',
        f"<h1>{title}</h1>",
        f"<p>{escape(info['summary'])}</p>" if "summary" in info else "",
        '<p>All of it, with every field, for tools: <a href="openapi.json">openapi.json</a> (OpenAPI).</p>',
    ]
    for path, methods in description["paths"].items():
        for method in _METHODS:
            if method in methods:
                parts += _operation(method, path, methods[method])
    return "\n".join([*filter(None, parts), "</main>\n</body>\n</html>\n"])


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<section>\n<h2><code>{method.upper()} {escape(path)}</code></h2>"
    # The summary of a function without words of its own is its name.
    yield f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>"
    given = [*operation.get("parameters", ()), *_body(operation)]
    if given:
        yield "<p>Takes</p>\n<ul>"
        yield from (f"<li>{_parameter(each)}</li>" for each in given)
        yield "</ul>"
    yield "<p>Answers</p>\n<ul>"
    for status, answer in operation["responses"].items():
        yield f"<li>{escape(status)}: {escape(answer['description'])}</li>"
    yield "</ul>\n</section>"


def _body(operation: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    body = operation.get("requestBody")
    if body is None:
        return
    for media_type, content in body["content"].items():
        needed = body.get("required", False)
        yield {"name": media_type, "in": "body", "required": needed, "schema": content.get("schema", {})}


def _parameter(parameter: Mapping[str, Any]) -> str:
    schema = parameter.get("schema", {})
    words = [
        f"<code>{escape(parameter['name'])}</code> in the {escape(parameter['in'])}",
        escape(_kind(schema)),
        "required" if parameter.get("required") else "",
        f"default {escape(str(schema['default']))}" if schema.get("default") not in (None, "") else "",
        escape(parameter.get("description", "")),
    ]
    return ", ".join(filter(None, words))


def _kind(schema: Mapping[str, Any]) -> str:
    """Return what a value is: its type, or the name of its schema in the description."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(kind for each in schema["anyOf"] if (kind := _kind(each)) not in ("", "null"))
    kind = str(schema.get("type", ""))
    return f"{kind} of {_kind(schema['items'])}" if kind == "array" and "items" in schema else kind
