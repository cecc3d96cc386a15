"""Reading a request's body within bounds of size and time."""

from __future__ import annotations

import asyncio

from services.core.errors import InvalidRequest, PayloadTooLarge
from services.gateway.edge.rest.asgi import Message, Receive

# A client that is told "too large" gets this long to stop sending before its connection is closed: closed at once, it
# would see a reset instead of the answer.
_LINGER_S = 2.0


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete; nobody is left to be told."""


class BodyReader:
    """Reads bodies.

    Args:
        limit_bytes: Largest body.
        timeout_s: Longest time for a body to arrive.
    """

    def __init__(self, limit_bytes: int, timeout_s: float) -> None:
        self._limit_bytes = limit_bytes
        self._timeout_s = timeout_s

    async def read(self, receive: Receive, announced_bytes: int | None) -> bytes:
        """Return the whole body.

        Args:
            receive: ASGI's.
            announced_bytes: ``Content-Length``; None for a body in chunks.

        Raises:
            PayloadTooLarge: It is, or announces to be, over the limit; in the second case nothing was read.
            InvalidRequest: It did not arrive in time.
            ClientGoneError: The client went away.
        """
        if announced_bytes is not None and announced_bytes > self._limit_bytes:
            raise self._too_large(f"{announced_bytes} bytes")
        try:
            async with asyncio.timeout(self._timeout_s):
                first = await _next(receive)
                body: bytes = first.get("body", b"")
                if not first.get("more_body", False) and len(body) <= self._limit_bytes:
                    return body
                return await self._rest(receive, body)
        except TimeoutError as error:
            raise InvalidRequest(
                f"the request's body did not arrive within {self._timeout_s:g} s; send it faster or in smaller requests"
            ) from error

    async def _rest(self, receive: Receive, first: bytes) -> bytes:
        body = bytearray(first)
        more = True
        while more:
            if len(body) > self._limit_bytes:
                raise self._too_large(f"more than {self._limit_bytes} bytes")
            message = await _next(receive)
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if len(body) > self._limit_bytes:
            raise self._too_large(f"{len(body)} bytes")
        return bytes(body)

    def _too_large(self, found: str) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"the request's body has {found}; this gateway takes at most {self._limit_bytes}: send smaller batches, or "
            "binary tensors instead of JSON"
        )


async def linger(receive: Receive) -> None:
    """Throw away what a refused client is still sending, for a short time."""
    try:
        async with asyncio.timeout(_LINGER_S):
            while (await _next(receive)).get("more_body", False):
                pass
    except (TimeoutError, ClientGoneError):
        return


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return message
