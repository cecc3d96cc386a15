"""Asks a Prometheus for one number.

Source of the protocol: https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import urlsplit

import httpx2

from services.core.errors import ConfigurationError, Unavailable, UpstreamFailure

_TIMEOUT_S = 10.0
_MOST_BYTES = 1 << 20
_MOST_SHOWN = 200
# Beside what the client says: a host that none can be, found where the connection is made.
_FAILURES = (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, ExceptionGroup)


class PrometheusQuery:
    """One Prometheus, or anything that speaks its query API. Close it with ``aclose``.

    Args:
        url: Its base URL, such as ``http://prometheus:9090``.
        transport: What carries the requests; the network by default.

    Raises:
        ConfigurationError: The URL is none.
    """

    def __init__(self, url: str, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        if not _is_usable(url):
            raise ConfigurationError(
                f"controller.prometheus_url is '{url}'; expected http:// or https:// with a host, such as "
                "http://prometheus:9090"
            )
        self._url = url.rstrip("/")
        self._client = httpx2.AsyncClient(timeout=_TIMEOUT_S, transport=transport, trust_env=False)

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def value(self, query: str) -> float:
        """Return the one number that a query gives now; it may be a NaN.

        Raises:
            UpstreamFailure: The query is wrong, matches nothing, or gives several series or no number.
            Unavailable: Prometheus does not answer.
        """
        try:
            async with self._client.stream("POST", f"{self._url}/api/v1/query", data={"query": query}) as response:
                body = b""
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _MOST_BYTES:
                        raise UpstreamFailure(f"{self._url} answered more than {_MOST_BYTES:,} bytes to: {query}")
                status = response.status_code
        except _FAILURES as error:
            raise Unavailable(f"{self._url} does not answer: {type(error).__name__}: {error}") from error
        return _number(_document(status, body, self._url), query)


def _is_usable(url: str) -> bool:
    try:
        httpx2.URL(url)
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx2.InvalidURL):  # also of a port beyond the last
        return False


def _document(status: int, body: bytes, url: str) -> dict[str, Any]:
    try:
        document = httpx2.Response(status, content=body).json()
    except ValueError as error:
        raise UpstreamFailure(f"{url} answered {status} and no JSON; is that a Prometheus?") from error
    if not isinstance(document, dict):
        raise UpstreamFailure(f"{url} answered a JSON {type(document).__name__}; is that a Prometheus?")
    if document.get("status") != "success":
        words = str(document.get("error", f"status {status}"))[:_MOST_SHOWN]
        raise UpstreamFailure(f"{url} refuses the query: {words}")
    return document


def _number(document: dict[str, Any], query: str) -> float:
    try:
        data = document["data"]
        kind, result = data["resultType"], data["result"]
        if kind == "scalar":
            return float(result[1])
        if kind != "vector":
            raise UpstreamFailure(f"the query gives a {kind}, expected one number: {query}")
        if not result:
            raise UpstreamFailure(f"the query matches nothing: {query}")
        if len(result) > 1:
            raise UpstreamFailure(f"the query gives {len(result)} series, expected one; aggregate it: {query}")
        value = float(result[0]["value"][1])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UpstreamFailure(f"Prometheus' answer makes no sense ({type(error).__name__}: {error})") from error
    return value if not math.isinf(value) else math.nan
