"""Webhooks whose answer decides something: asked in the background, again and again, until it is good."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from services.controller.background import BackgroundOwner
from services.controller.webhooks.caller import WebhookCaller
from services.controller.webhooks.documents import call_document
from services.core.rollouts.rollout import Rollout
from services.core.rollouts.webhook import Occasion, Webhook

_LOG = logging.getLogger(__name__)
EVERY_S = 5.0

# One question: the rollout, the webhook, and the step at which it is asked.
_Key = tuple[str, str, int]


@dataclass(slots=True)
class _Asked:
    asked_at: float
    times: int = 0
    answered: bool = False
    problem: str = ""
    optional: bool = False


class Questions(BackgroundOwner[_Key]):
    """Used as a context: what is under way is cancelled at its end.

    Args:
        caller: Makes the calls.
        clock: Monotonic clock, seconds.
        every_s: Time between two calls of one question.
    """

    def __init__(self, caller: WebhookCaller, clock: Callable[[], float], every_s: float = EVERY_S) -> None:
        super().__init__()
        self._caller, self._clock, self._every_s = caller, clock, every_s
        self._asked: dict[_Key, _Asked] = {}

    def confirmed(self, rollout: Rollout, occasion: Occasion) -> str | None:
        """Return None once every webhook of an occasion has given a good answer, else what is waited for."""
        open_ = [
            f"webhook {webhook.name}{f': {asked.problem}' if asked.problem else ''}"
            for webhook in _of(rollout, occasion)
            if not (asked := self._ask(rollout, webhook)).answered
        ]
        return "; ".join(open_) or None

    def refused(self, rollout: Rollout, occasion: Occasion) -> str | None:
        """Return which webhook of an occasion had no good answer after all of its retries; None where none."""
        for webhook in _of(rollout, occasion):
            asked = self._asked.get(_key(rollout, webhook))
            if asked is not None and not asked.answered and asked.times > webhook.retries:
                return f"webhook {webhook.name}: {asked.problem}"
        return None

    def called_for(self, rollout: Rollout, occasion: Occasion) -> str | None:
        """Ask every webhook of an occasion now and then, and return the first that gave a good answer."""
        answered = [webhook.name for webhook in _of(rollout, occasion) if self._ask(rollout, webhook).answered]
        return answered[0] if answered else None

    def waiting(self, rollout_id: str) -> list[str]:
        """Return the webhooks whose good answer a rollout waits for, and what they said."""
        return [
            f"webhook {name}{f': {asked.problem}' if asked.problem else ''}"
            for (rollout, name, _), asked in self._asked.items()
            if rollout == rollout_id and not asked.answered and not asked.optional
        ]

    def forget(self, rollout_id: str) -> None:
        """Drop what is known of a rollout that is over."""
        for key in [key for key in self._asked if key[0] == rollout_id]:
            self._running.cancel(key)
            del self._asked[key]

    def drop(self) -> None:
        """Begin anew: end what is under way, and forget what was answered."""
        self._running.cancel_all()
        self._asked.clear()

    def _ask(self, rollout: Rollout, webhook: Webhook) -> _Asked:
        """Begin a call where one is due, and return what is known."""
        key, now = _key(rollout, webhook), self._clock()
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = _Asked(now - self._every_s, optional=webhook.occasion is Occasion.ROLLBACK)
        if not asked.answered and key not in self._running and now - asked.asked_at >= self._every_s:
            asked.asked_at = now
            self._running.begin(key, self._call(rollout, webhook, asked), f"webhook {webhook.name} of {rollout.id}")
        return asked

    async def _call(self, rollout: Rollout, webhook: Webhook, asked: _Asked) -> None:
        answer = await self._caller.call(webhook, call_document(rollout, webhook))
        asked.times += 1
        asked.answered, asked.problem = answer.good, answer.words
        if not answer.good and webhook.occasion is not Occasion.ROLLBACK:
            _LOG.info("rollout %s waits for webhook %s: %s", rollout.id, webhook.name, answer.words)


def _of(rollout: Rollout, occasion: Occasion) -> Iterable[Webhook]:
    return (webhook for webhook in rollout.spec.webhooks if webhook.occasion is occasion)


def _key(rollout: Rollout, webhook: Webhook) -> _Key:
    return rollout.id, webhook.name, rollout.step
