"""Speaks to the controller's REST API."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import click
import httpx2

from services.core.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    PenstockError,
    Unavailable,
    UpstreamFailure,
)

_BY_STATUS: dict[int, type[PenstockError]] = {
    400: InvalidRequest,
    404: NotFound,
    409: Conflict,
    413: PayloadTooLarge,
    503: Unavailable,
}
_TIMEOUT_S = 15.0
DEFAULT_URL = "http://127.0.0.1:9000"


def controller_option(command: Any) -> Any:
    """Give a verb the option that says where the controller is, as ``url``."""
    return click.option(
        "--controller",
        "url",
        default=DEFAULT_URL,
        envvar="PENSTOCK_CONTROLLER_URL",
        show_default=True,
        help="The controller's REST API (PENSTOCK_CONTROLLER_URL).",
    )(command)


def request_id_option(command: Any) -> Any:
    """Give a verb the option that names its request, as ``request_id``."""
    return click.option(
        "--request-id",
        default="",
        help="A name for this request: sent again with it, it is answered and not done a second time.",
    )(command)


def path_of(kind: str, name: str) -> str:
    """Return the path of one of the controller's documents, whatever characters its name has."""
    return f"/v1/{kind}/{quote(name.encode('utf-8', 'surrogateescape'), safe='')}"


class ControllerClient:
    """One controller. Used as a context; every refusal is an error of ours with the controller's words.

    Args:
        url: Where its REST API is.
        transport: What carries the requests; the network by default.
    """

    def __init__(self, url: str, transport: httpx2.BaseTransport | None = None) -> None:
        self._url = url
        try:
            self._client = httpx2.Client(base_url=url, timeout=_TIMEOUT_S, transport=transport, trust_env=False)
        except httpx2.InvalidURL as error:
            raise InvalidRequest(
                f"the controller's URL '{url}' is wrong ({error}); expected http://HOST:PORT"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **query: Any) -> Any:
        """Return a document.

        Raises:
            PenstockError: The controller refuses, or does not answer.
        """
        given = {name: value for name, value in query.items() if value is not None}
        return self._send(self._request("GET", path, params=given))

    def post(self, path: str, document: Any) -> Any:
        """Send a document and return the answer; errors as in ``get``."""
        return self._send(self._request("POST", path, json=document))

    def _request(self, method: str, path: str, **content: Any) -> httpx2.Request:
        try:
            return self._client.build_request(method, path, **content)
        except (ValueError, httpx2.InvalidURL) as error:
            raise InvalidRequest(
                f"{method} {path!r} cannot be sent ({error}); expected finite numbers, UTF-8 text, and no control "
                "character in a name"
            ) from error

    def _send(self, request: httpx2.Request) -> Any:
        try:
            response = self._client.send(request)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise Unavailable(
                f"no controller answers at {self._url} ({error}); start one with `penstock up`, or name another with "
                "--controller or PENSTOCK_CONTROLLER_URL"
            ) from error
        try:
            document = response.json()
        except ValueError as error:
            raise UpstreamFailure(
                f"{request.url} answered {response.status_code} and no JSON; is that a Penstock controller?"
            ) from error
        if response.is_success:
            return document
        words = document.get("error") if isinstance(document, dict) else None
        kind = _BY_STATUS.get(response.status_code, UpstreamFailure)
        raise kind(str(words or f"{request.url} answered {response.status_code}: {document}"))
