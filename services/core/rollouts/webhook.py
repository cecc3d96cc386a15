"""Calls to somebody else's service on the way of a rollout, with the meaning that they have in Flagger. Pure.

Source: https://docs.flagger.app/usage/webhooks
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from services.core.errors import InvalidRequest
from services.core.rollouts.custom_metric import CustomMetric

MAX_WEBHOOKS = 32
_NAME = re.compile(r"[a-z][a-z0-9_\-]{0,62}")
_LONGEST_URL = 2048
_MOST_METADATA, _LONGEST_METADATA = 32, 1024
_LONGEST_TIMEOUT_S = 60.0
_MOST_RETRIES = 10


class Occasion(StrEnum):
    """When a webhook is called, and what its answer means. An answer is good when its status is 2xx."""

    CONFIRM_ROLLOUT = "confirm-rollout"  # before the candidate is warmed: it waits until the answer is good
    PRE_ROLLOUT = "pre-rollout"  # when it is warm: without a good answer after the retries it gets no traffic
    CONFIRM_TRAFFIC_INCREASE = "confirm-traffic-increase"  # when a step has passed: the weight waits for it
    CONFIRM_PROMOTION = "confirm-promotion"  # when the last step has passed: promotion waits for it
    ROLLOUT = "rollout"  # again and again during a step: a check of it; bad answers beyond the retries are harm
    ROLLBACK = "rollback"  # again and again while the candidate has its share: a good answer aborts
    POST_ROLLOUT = "post-rollout"  # when it is over: the answer changes nothing
    EVENT = "event"  # at every change of phase or step: the answer changes nothing


@dataclass(frozen=True, slots=True)
class Webhook:
    """One service to call.

    Attributes:
        name: Names it in the history.
        occasion: When it is called.
        url: Where; HTTP or HTTPS.
        timeout_s: Longest wait for one answer, seconds.
        retries: How often a call without a good answer is made again, where it is not made again and again anyway;
            where it is a check of a step, so many bad answers are tolerated, and so many calls in a row without one.
        interval_s: Time between two calls of one that is called during a step, seconds.
        metadata: Goes along with every call.
    """

    name: str
    occasion: Occasion
    url: str
    timeout_s: float = 10.0
    retries: int = 3
    interval_s: float = 15.0
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = [len(text) for pair in self.metadata.items() for text in pair]
        rules = {
            "expected a name of lower-case letters, digits, '-' and '_'": _NAME.fullmatch(self.name),
            f"url '{self.url[:200]}'; expected http:// or https:// and a host": (
                _names_a_host(self.url) and len(self.url) <= _LONGEST_URL
            ),
            f"expected a timeout_s up to {_LONGEST_TIMEOUT_S:g}": 0.0 < self.timeout_s <= _LONGEST_TIMEOUT_S,
            "expected an interval_s from 1 to 3600": 1.0 <= self.interval_s <= 3600.0,  # noqa: PLR2004 - an hour
            f"expected retries from 0 to {_MOST_RETRIES}": 0 <= self.retries <= _MOST_RETRIES,
            f"expected at most {_MOST_METADATA} entries of metadata of {_LONGEST_METADATA} characters": (
                len(self.metadata) <= _MOST_METADATA and max(sizes, default=0) <= _LONGEST_METADATA
            ),
        }
        problem = next((words for words, holds in rules.items() if not holds), None)
        if problem is not None:
            raise InvalidRequest(f"webhook '{self.name}': {problem}")

    @property
    def metric(self) -> CustomMetric:
        """The check of a step that it is: 1 for a good answer, 0 for a bad one."""
        return CustomMetric(
            self.name,
            f"whether {self.name} answers well",
            at_least=1.0,
            interval_s=self.interval_s,
            count=1,
            failure_limit=self.retries,
            consecutive_error_limit=self.retries,
        )


def _names_a_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that hold no IPv6 address
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
