"""Takes the measurements that rollouts ask for, in the background, one per metric at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

from services.controller.background import BackgroundOwner
from services.controller.webhooks.caller import WebhookCaller
from services.controller.webhooks.documents import call_document
from services.core.errors import PenstockError, Unavailable
from services.core.rollouts.custom_metric import CustomMetric, Measurements, Reading
from services.core.rollouts.rollout import Rollout

_LOG = logging.getLogger(__name__)
_TIMEOUT_S = 15.0

# The rollout and the metric.
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Begun:
    """The last measurement that was begun: in which step, and when by the monotonic clock."""

    step: int
    at: float


class MetricSource(Protocol):
    """Where metrics are. Adapter: ``PrometheusQuery``."""

    async def value(self, query: str) -> float:
        """Return the one number that a query gives now.

        Raises:
            PenstockError: There is none.
        """
        ...


class Measuring(BackgroundOwner[_Key]):
    """Used as a context: what is under way is cancelled at its end.

    Args:
        source: Where metrics are; None where nobody said, and every measurement says so.
        caller: Calls webhooks that are checks of a step.
        clock: Wall clock, seconds since the epoch: when something was measured.
        monotonic: Monotonic clock, seconds: when it is measured again.
    """

    def __init__(
        self,
        source: MetricSource | None,
        caller: WebhookCaller,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__()
        self._source, self._caller, self._clock, self._monotonic = source, caller, clock, monotonic
        self._begun: dict[_Key, _Begun] = {}
        self._readings: dict[_Key, Reading] = {}

    @property
    def possible(self) -> bool:
        """Whether anybody said where metrics are."""
        return self._source is not None

    def take(self, rollout: Rollout) -> Iterator[tuple[CustomMetric, Reading]]:
        """Yield the measurements of a rollout's step that were made since the last call, and begin those that are due.

        One that was begun in the step before says nothing of this one's weight, and is left out.
        """
        for metric in rollout.spec.measured:
            key = (rollout.id, metric.name)
            last_at = rollout.evidence.measurements.get(metric.name, Measurements()).last_at
            reading, begun = self._readings.pop(key, None), self._begun.get(key)
            if reading is not None and begun is not None and begun.step == rollout.step:
                yield metric, reading.after(last_at)
            elif key not in self._running and self._is_due(metric, rollout.step, begun, last_at):
                self._begun[key] = _Begun(rollout.step, self._monotonic())
                self._running.begin(key, self._measure(rollout, metric), f"measure {metric.name} for {rollout.id}")

    def keep(self, rollouts: Collection[str]) -> None:
        """Drop what is known of every rollout but these, and end what is measured for others."""
        self._running.keep(lambda key: key[0] in rollouts)
        self._begun = {key: begun for key, begun in self._begun.items() if key[0] in rollouts}
        self._readings = {key: reading for key, reading in self._readings.items() if key[0] in rollouts}

    def drop(self) -> None:
        """Begin anew: end what is under way, and forget what was measured."""
        self._running.cancel_all()
        self._begun.clear()
        self._readings.clear()

    def _is_due(self, metric: CustomMetric, step: int, begun: _Begun | None, last_at: float) -> bool:
        if begun is None:  # by this process, as it leads now; when it was measured before is all that is known
            return not 0.0 <= self._clock() - last_at < metric.interval_s
        return begun.step != step or self._monotonic() - begun.at >= metric.interval_s

    async def _value(self, rollout: Rollout, metric: CustomMetric) -> float:
        webhook = next((each for each in rollout.spec.webhooks if each.name == metric.name), None)
        if webhook is not None:
            answer = await self._caller.call(webhook, call_document(rollout, webhook))
            if answer.status is None:
                raise Unavailable(answer.words)
            return float(answer.good)
        if self._source is None:
            raise Unavailable("controller.prometheus_url is not set")
        async with asyncio.timeout(_TIMEOUT_S):
            return await self._source.value(metric.query_for(rollout.model, rollout.stable, rollout.candidate))

    async def _measure(self, rollout: Rollout, metric: CustomMetric) -> None:
        try:
            reading = Reading(self._clock(), await self._value(rollout, metric))
        except TimeoutError:
            reading = Reading(self._clock(), None, f"no answer within {_TIMEOUT_S:g} s")
        except PenstockError as error:
            reading = Reading(self._clock(), None, error.message)
            _LOG.warning("metric %s of %s: %s", metric.name, rollout.id, error)
        self._readings[rollout.id, metric.name] = reading
