"""What webhooks are to be told, from when it is stored until it is delivered or given up. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import orjson
from pydantic import TypeAdapter

from services.controller.webhooks.documents import call_document
from services.core.errors import ConfigurationError, PenstockError
from services.core.rollouts.forecast import duration
from services.core.rollouts.history import HistoryEntry
from services.core.rollouts.rollout import Rollout
from services.core.rollouts.webhook import Occasion, Webhook

FIRST_PAUSE_S, PAUSE_FACTOR, LONGEST_PAUSE_S = 2.0, 5.0, 300.0
# Bounds on what is kept: what waits for longer, and the oldest of more than so many, is given up.
MAX_AGE_S = 86_400.0
MOST_WAITING = 4096
MOST_GIVEN_UP = 1000
LONGEST_PROBLEM = 1000
_LONGEST_DESTINATION = 300
_WEBHOOK = TypeAdapter(Webhook)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One change of a rollout that one webhook is to be told.

    Attributes:
        id: Unique, and the same however often it is sent: receivers know a repetition by it.
        rollout: The rollout's id.
        webhook: Who is told.
        said: What it is told.
        written_at: When the change was stored, seconds since the epoch.
        due_at: It is not sent before, seconds since the epoch.
        attempts: How often it was sent without a good answer.
        problem: What came of the last attempt, or why it was given up; empty before the first.
        gave_up_at: Since when it is not sent any more, seconds since the epoch; None while it is.
    """

    id: str
    rollout: str
    webhook: Webhook
    said: dict[str, Any]
    written_at: float
    due_at: float
    attempts: int = 0
    problem: str = ""
    gave_up_at: float | None = None

    @property
    def line(self) -> tuple[str, str]:
        """What keeps its order: the webhook of one rollout is told one change after the other."""
        return self.rollout, self.webhook.name

    @property
    def destination(self) -> str:
        """The host and port that is called; destinations do not wait for each other."""
        return urlsplit(self.webhook.url).netloc.rpartition("@")[2].lower()[:_LONGEST_DESTINATION]

    def refused(self, problem: str, now: float) -> Delivery:
        """Return what it becomes by an attempt without a good answer: due later, or given up after its retries."""
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * PAUSE_FACTOR**self.attempts)
        return replace(
            self,
            attempts=self.attempts + 1,
            due_at=now + pause_s,
            problem=problem[:LONGEST_PROBLEM],
            gave_up_at=now if self.attempts >= self.webhook.retries else None,
        )


@dataclass(frozen=True, slots=True)
class Undelivered:
    """What one webhook of a rollout was not told.

    All but ``count`` is of the first change of those that wait, or of the last one of those that were given up.

    Attributes:
        webhook: Its name.
        count: How many changes that are.
        phase: The phase that is told.
        attempts: As in ``Delivery``.
        problem: As in ``Delivery``.
        due_at: As in ``Delivery``.
        gave_up_at: As in ``Delivery``.
    """

    webhook: str
    count: int
    phase: str
    attempts: int
    problem: str
    due_at: float
    gave_up_at: float | None


def deliveries_of(rollout: Rollout, entry: HistoryEntry) -> list[Delivery]:
    """Return what webhooks are to be told of a change.

    Args:
        rollout: As it is stored after the change.
        entry: The change.
    """
    told = (
        webhook
        for webhook in rollout.spec.webhooks
        if webhook.occasion is Occasion.EVENT or (webhook.occasion is Occasion.POST_ROLLOUT and rollout.phase.terminal)
    )
    documents = ((webhook, call_document(rollout, webhook, entry)) for webhook in told)
    return [
        Delivery(document["delivery"], rollout.id, webhook, document, entry.at, entry.at)
        for webhook, document in documents
    ]


def undelivered_words(undelivered: Sequence[Undelivered], now: float) -> list[str]:
    """Return what webhooks were not told, a line for each.

    Args:
        undelivered: What there is.
        now: Seconds since the epoch.
    """
    return [_words(each, now) for each in undelivered]


def _words(untold: Undelivered, now: float) -> str:
    which = f"{untold.count} {'change' if untold.count == 1 else 'changes'}"
    tried = f"failed attempts: {untold.attempts}"
    if untold.gave_up_at is not None:
        told = f"was not told of {which}, the last to '{untold.phase}'; given up; {tried}; {untold.problem}"
    elif untold.attempts:
        again = f"next in {duration(max(0.0, untold.due_at - now))}"
        told = f"is still to be told of {which}, the first to '{untold.phase}'; {tried}; {again}; {untold.problem}"
    else:
        told = f"is still to be told of {which}, the first to '{untold.phase}'; not tried yet"
    return f"Webhook {untold.webhook} {told}."


def encode_delivery(delivery: Delivery) -> str:
    """Return what never changes of a delivery as a JSON text."""
    document = {"webhook": _WEBHOOK.dump_python(delivery.webhook, mode="json"), "said": delivery.said}
    return orjson.dumps(document).decode()


def decode_delivery(text: str) -> tuple[Webhook, dict[str, Any]]:
    """Return the webhook and what it is told, from a JSON text.

    Raises:
        ConfigurationError: The text is not what this version of Penstock wrote.
    """
    try:
        document = orjson.loads(text)
        return _WEBHOOK.validate_python(document["webhook"]), dict(document["said"])
    except (KeyError, TypeError, ValueError, PenstockError) as error:
        raise ConfigurationError(
            f"a stored notice cannot be read ({type(error).__name__}: {error}); was it written by another version of "
            "penstock?"
        ) from error
