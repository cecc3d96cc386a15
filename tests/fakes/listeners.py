"""The services that webhooks call, without a socket."""

from __future__ import annotations

import json
from typing import Any

import httpx2


class FakeListeners:
    """Answers every call with 200, but for the hosts that were told to answer otherwise.

    Attributes:
        answers: Status by host; 0 for no answer at all.
        calls: Host and body of every call, in order.
        headers: The headers of every call, in order.
        addresses: What a host's name stands for; nothing where it is not here.
    """

    def __init__(self) -> None:
        self.answers: dict[str, int] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.addresses: dict[str, list[str]] = {}
        self.transport = httpx2.MockTransport(self._answer)

    def of(self, host: str) -> list[dict[str, Any]]:
        """Return the bodies of the calls to a host."""
        return [body for called, body in self.calls if called == host]

    async def resolve(self, host: str) -> list[str]:
        """Look up a host's addresses."""
        return self.addresses.get(host, [])

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host
        self.calls.append((host, json.loads(request.content)))
        self.headers.append(dict(request.headers))
        status = self.answers.get(host, 200)
        if not status:
            raise httpx2.ConnectError("nobody there", request=request)
        return httpx2.Response(status, text="not yet" if status >= 300 else "")
