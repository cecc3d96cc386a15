"""A response that goes on: events until the client, the rollout or the process goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.controller.events.event_feed import Subscription
from services.controller.events.notice import HEARTBEAT, Notice

# After which a browser comes back, milliseconds.
_OPENING = b"retry: 2000\n\n"


class EventStream(Response):
    """Sends a subscription's notices.

    Args:
        subscription: Where they come from; ended with the response.
        epoch: The feed's.
        first: Notices that come before all others.
        heartbeat_s: Longest silence: what a proxy in between may take for death is much longer.
        patience_s: Longest time for a client to take what is sent.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        subscription: Subscription,
        epoch: str,
        first: Iterable[Notice] = (),
        *,
        heartbeat_s: float = 15.0,
        patience_s: float = 10.0,
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._subscription = subscription
        self._epoch = epoch
        self._first = tuple(first)
        self._heartbeat_s = heartbeat_s
        self._patience_s = patience_s

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send until somebody ends it; the client's departure ends the subscription."""
        with self._subscription:
            departure = asyncio.create_task(self._departure(receive), name="departure of a subscriber")
            try:
                await self._send_all(send)
            except TimeoutError:
                # A client that takes nothing any more cannot be told so either: ending here closes its connection.
                return
            finally:
                departure.cancel()
                await asyncio.gather(departure, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        async with asyncio.timeout(self._patience_s):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await self._send(send, _OPENING + b"".join(notice.frame(self._epoch) for notice in self._first))
        over = any(self._closes(notice) for notice in self._first)
        while not over and not self._subscription.ended:
            notice = await self._subscription.next(self._heartbeat_s)
            if notice is not None:
                await self._send(send, notice.frame(self._epoch))
                over = self._closes(notice)
            elif not self._subscription.ended:
                await self._send(send, HEARTBEAT)
        await self._send(send, b"", more=False)

    def _closes(self, notice: Notice) -> bool:
        return notice.final and notice.subject == self._subscription.subject

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(self._patience_s):
            await send({"type": "http.response.body", "body": body, "more_body": more})

    async def _departure(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._subscription.end()
