"""Webhooks that are told what happened: in order, retried, from a bounded queue."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from services.controller.webhooks.caller import WebhookCaller
from services.controller.webhooks.documents import call_document
from services.core.history import HistoryEntry
from services.core.rollout import Rollout
from services.core.webhook import Occasion, Webhook

_LOG = logging.getLogger(__name__)
_MOST_WAITING = 256
_FIRST_PAUSE_S = 0.5


class Announcer:
    """Calls webhooks for changes that are stored.

    What waits is in memory alone: a controller that is killed tells less, never something that did not happen. The
    history has everything.

    Args:
        caller: Makes the calls.
        pause_s: Time before the first retry; it doubles.
    """

    def __init__(self, caller: WebhookCaller, pause_s: float = _FIRST_PAUSE_S) -> None:
        self._caller, self._pause_s = caller, pause_s
        self._waiting: asyncio.Queue[tuple[Webhook, dict[str, Any]]] = asyncio.Queue(_MOST_WAITING)
        self.dropped = 0

    def tell(self, rollout: Rollout, entry: HistoryEntry) -> None:
        """Put the calls for a change in the queue; what does not fit is dropped and counted."""
        for webhook in rollout.spec.webhooks:
            over = rollout.phase.terminal and webhook.occasion is Occasion.POST_ROLLOUT
            if not over and webhook.occasion is not Occasion.EVENT:
                continue
            try:
                self._waiting.put_nowait((webhook, call_document(rollout, webhook, entry)))
            except asyncio.QueueFull:
                self.dropped += 1
                _LOG.warning("webhook %s is not told of rollout %s: %d wait", webhook.name, rollout.id, _MOST_WAITING)

    async def run(self) -> None:
        """Make the calls until cancelled."""
        while True:
            webhook, document = await self._waiting.get()
            await self._deliver(webhook, document)
            self._waiting.task_done()

    async def idle(self) -> None:
        """Wait until everything was delivered or given up."""
        await self._waiting.join()

    async def _deliver(self, webhook: Webhook, document: dict[str, Any]) -> None:
        pause_s = self._pause_s
        for attempt in range(webhook.retries + 1):
            answer = await self._caller.call(webhook, document)
            if answer.good:
                return
            if attempt < webhook.retries:
                await asyncio.sleep(pause_s)
                pause_s *= 2
        _LOG.warning("webhook %s is not told of rollout %s: %s", webhook.name, document["rollout"], answer.words)
