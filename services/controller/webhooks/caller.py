"""One call: signed, bounded in time and size, never redirected."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import httpx2
import orjson

from services.controller.webhooks.hosts import AllowedHosts
from services.core.rollouts.webhook import Webhook

SIGNATURE_HEADER = "penstock-signature"
DELIVERY_HEADER = "penstock-delivery"
_MOST_BYTES = 64 * 1024
_SHOWN = 200
# Beside what the client says: a port or a name that no host can have, found where the connection is made.
_FAILURES = (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, ExceptionGroup)
# More than the announcer uses at once, so that services that do not answer it keep no question from being asked.
_CONNECTIONS = httpx2.Limits(max_connections=256, max_keepalive_connections=32)


class Answer(NamedTuple):
    """What came back.

    Attributes:
        status: The HTTP status; None where there was no answer.
        words: What a person is told of an answer that is not good; empty for a good one.
    """

    status: int | None
    words: str = ""

    @property
    def good(self) -> bool:
        """Whether the status is 2xx."""
        return not self.words


def signature(secret: str, at: int, body: bytes) -> str:
    """Return the header's value: ``t=SECONDS,v1=HEX``, HMAC-SHA256 of ``SECONDS.BODY`` under the secret."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


class WebhookCaller:
    """Makes calls. Close it with ``aclose``.

    Args:
        secret: What calls are signed with; empty leaves them unsigned.
        clock: Wall clock, seconds since the epoch: goes into the signature, so that an old call cannot be sent again.
        hosts: Whom it may call.
        transport: What carries the calls; the network by default.

    Attributes:
        calls: How many were made, by occasion and whether the answer was ``good``, ``bad`` or ``none``.
    """

    def __init__(
        self,
        secret: str,
        clock: Callable[[], float],
        hosts: AllowedHosts | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._secret, self._clock, self._hosts = secret, clock, hosts or AllowedHosts()
        self._client = httpx2.AsyncClient(
            transport=transport, trust_env=False, follow_redirects=False, limits=_CONNECTIONS
        )
        self.calls: Counter[tuple[str, str]] = Counter()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def problem(self, webhook: Webhook) -> str:
        """Return why a webhook would never be called; empty where nothing is known against it."""
        return self._hosts.problem(webhook.url)

    async def call(self, webhook: Webhook, document: Mapping[str, Any]) -> Answer:
        """Make one call; its ``delivery`` is the same whenever the same thing is asked or told again."""
        try:
            async with asyncio.timeout(webhook.timeout_s):
                answer = await self._call(webhook, document)
        except TimeoutError:
            answer = Answer(None, f"no answer from {webhook.url} within {webhook.timeout_s:g} s")
        outcome = "none" if answer.status is None else "good" if answer.good else "bad"
        self.calls[webhook.occasion.value, outcome] += 1
        return answer

    async def _call(self, webhook: Webhook, document: Mapping[str, Any]) -> Answer:
        if problem := await self._hosts.problem_now(webhook.url):
            return Answer(None, problem)
        body = orjson.dumps({**document, "metadata": webhook.metadata})
        headers = {"content-type": "application/json", DELIVERY_HEADER: str(document.get("delivery", ""))}
        if self._secret:
            headers[SIGNATURE_HEADER] = signature(self._secret, int(self._clock()), body)
        try:
            request = self._client.stream("POST", webhook.url, content=body, headers=headers, timeout=webhook.timeout_s)
            async with request as response:
                said = b""
                async for chunk in response.aiter_bytes():
                    said += chunk
                    if len(said) > _MOST_BYTES:
                        break
        except _FAILURES as error:
            return Answer(None, f"no answer from {webhook.url} ({type(error).__name__}: {error})")
        if response.is_success:
            return Answer(response.status_code)
        words = said[:_SHOWN].decode("utf-8", "replace").strip()
        told = f"{webhook.url} answered {response.status_code}{f': {words}' if words else ''}"
        return Answer(response.status_code, told)
