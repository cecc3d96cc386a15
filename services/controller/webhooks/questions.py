"""Webhooks whose answer decides something: asked in the background, again and again, until it is good."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from services.controller.background import BackgroundOwner
from services.controller.webhooks.caller import WebhookCaller
from services.controller.webhooks.documents import call_document
from services.core.rollouts.rollout import Phase, Rollout
from services.core.rollouts.webhook import Occasion, Webhook

_LOG = logging.getLogger(__name__)
EVERY_S = 5.0
# Without whose good answers a rollout does not leave a phase.
_AWAITED: dict[Phase, frozenset[Occasion]] = {
    Phase.PREPARING: frozenset({Occasion.CONFIRM_ROLLOUT}),
    Phase.WARMING: frozenset({Occasion.PRE_ROLLOUT}),
    Phase.PROGRESSING: frozenset({Occasion.CONFIRM_TRAFFIC_INCREASE, Occasion.CONFIRM_PROMOTION}),
}

# One question: the rollout, the webhook, and the step at which it is asked.
_Key = tuple[str, str, int]


@dataclass(slots=True)
class _Asked:
    asked_at: float
    times: int = 0
    answered: bool = False
    problem: str = ""


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
        asked = ((webhook, self._ask(rollout, webhook)) for webhook in _of(rollout, occasion))
        return "; ".join(_said(webhook, each) for webhook, each in asked if not each.answered) or None

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

    def waiting(self, rollout: Rollout) -> list[str]:
        """Return the webhooks that were asked and whose good answer a rollout waits for, and what they said."""
        found = ((webhook, self._asked.get(_key(rollout, webhook))) for webhook in awaited(rollout))
        return [_said(webhook, asked) for webhook, asked in found if asked is not None and not asked.answered]

    def keep(self, rollouts: Collection[str]) -> None:
        """Drop what is known of every rollout but these, and end what is asked for others."""
        self._running.keep(lambda key: key[0] in rollouts)
        self._asked = {key: asked for key, asked in self._asked.items() if key[0] in rollouts}

    def drop(self) -> None:
        """Begin anew: end what is under way, and forget what was answered."""
        self._running.cancel_all()
        self._asked.clear()

    def _ask(self, rollout: Rollout, webhook: Webhook) -> _Asked:
        """Begin a call where one is due, and return what is known."""
        key, now = _key(rollout, webhook), self._clock()
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = _Asked(now - self._every_s)
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


def awaited(rollout: Rollout) -> list[Webhook]:
    """Return the webhooks that can hold a rollout in its present phase."""
    occasions = _AWAITED.get(rollout.phase, frozenset())
    return [webhook for webhook in rollout.spec.webhooks if webhook.occasion in occasions]


def _said(webhook: Webhook, asked: _Asked) -> str:
    return f"webhook {webhook.name}{f': {asked.problem}' if asked.problem else ''}"


def _of(rollout: Rollout, occasion: Occasion) -> Iterable[Webhook]:
    return (webhook for webhook in rollout.spec.webhooks if webhook.occasion is occasion)


def _key(rollout: Rollout, webhook: Webhook) -> _Key:
    return rollout.id, webhook.name, rollout.step
