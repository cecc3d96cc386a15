"""Takes the measurements that rollouts ask for, in the background, one per metric at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from typing import Protocol

from services.controller.background import BackgroundOwner
from services.controller.webhooks.caller import WebhookCaller
from services.controller.webhooks.documents import call_document
from services.core.errors import PenstockError, Unavailable
from services.core.rollouts.custom_metric import CustomMetric, Measurements, Reading
from services.core.rollouts.rollout import Rollout

_LOG = logging.getLogger(__name__)
_TIMEOUT_S = 15.0


class MetricSource(Protocol):
    """Where metrics are. Adapter: ``PrometheusQuery``."""

    async def value(self, query: str) -> float:
        """Return the one number that a query gives now.

        Raises:
            PenstockError: There is none.
        """
        ...


class Measuring(BackgroundOwner[tuple[str, str]]):
    """Used as a context: what is under way is cancelled at its end.

    Args:
        source: Where metrics are; None where nobody said, and every measurement says so.
        caller: Calls webhooks that are checks of a step.
        clock: Wall clock, seconds since the epoch.
    """

    def __init__(self, source: MetricSource | None, caller: WebhookCaller, clock: Callable[[], float]) -> None:
        super().__init__()
        self._source, self._caller, self._clock = source, caller, clock
        self._readings: dict[tuple[str, str], Reading] = {}

    @property
    def possible(self) -> bool:
        """Whether anybody said where metrics are."""
        return self._source is not None

    def take(self, rollout: Rollout) -> Iterator[tuple[CustomMetric, Reading]]:
        """Yield the measurements of a rollout's step that were made since the last call, and begin those that are due.

        One that was made before the step began says nothing of its weight, and is left out.
        """
        now = self._clock()
        for metric in rollout.spec.measured:
            key = (rollout.id, metric.name)
            reading = self._readings.pop(key, None)
            if reading is not None and reading.at >= rollout.step_entered_at:
                yield metric, reading
                continue
            last_at = rollout.evidence.measurements.get(metric.name, Measurements()).last_at
            if key not in self._running and now - last_at >= metric.interval_s:
                self._running.begin(key, self._measure(rollout, metric), f"measure {metric.name} for {rollout.id}")

    def keep(self, rollouts: Collection[str]) -> None:
        """Drop what is known of every rollout but these, and end what is measured for others."""
        self._running.keep(lambda key: key[0] in rollouts)
        self._readings = {key: reading for key, reading in self._readings.items() if key[0] in rollouts}

    def drop(self) -> None:
        """Begin anew: end what is under way, and forget what was measured."""
        self._running.cancel_all()
        self._readings.clear()

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
