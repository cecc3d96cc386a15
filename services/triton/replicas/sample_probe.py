"""Proves with real inferences of warm-up samples that versions work where no traffic shows it.

A Triton can be ready and unable to run a model: the process of a Python-based one is gone until the model is loaded
again. Only an inference tells.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable

from services.core.errors import PenstockError
from services.core.inference import InferRequest
from services.triton.replicas.judge import Judge
from services.triton.replicas.replica import Pair
from services.triton.replicas.roster import Roster
from services.triton.replicas.rules import rule_of
from services.triton.replicas.settings import ReplicaSettings
from services.triton.triton_upstream import version_path

_AT_ONCE = 4
_SOON_S = 0.2
_JITTER = 0.1
_DESCRIBE_EVERY_S = 5.0


class SampleProbe:
    """Samples of every version on every replica, few at a time.

    A version that has just answered a client there needs no sample, and one that is on a single replica gets none,
    because nothing could be done with the answer.

    Args:
        roster: Who there is.
        judge: Told of samples that failed.
        settings: How often.
        clock: Seconds, monotonic.
    """

    def __init__(self, roster: Roster, judge: Judge, settings: ReplicaSettings, clock: Callable[[], float]) -> None:
        self._roster = roster
        self._judge = judge
        self._settings = settings
        self._clock = clock
        self._next = 0.0
        self._running: set[asyncio.Task[None]] = set()

    def probe_due(self) -> None:
        """Probe what has waited longest, if anything is due and the rate allows it."""
        now = self._clock()
        if now < self._next or len(self._running) >= _AT_ONCE:
            return
        due = [pair for version in self._roster.versions.values() for pair in version.pairs if self._is_due(pair, now)]
        if not due:
            return
        pair = min(due, key=lambda pair: pair.probe_at)
        jitter = random.uniform(1.0 - _JITTER, 1.0 + _JITTER)  # noqa: S311 - no secret
        pair.probe_at = now + self._settings.probe_interval_s * jitter
        self._next = now + 1.0 / self._settings.max_probes_per_s
        task = asyncio.create_task(self._probe(pair), name=f"sample of {pair.version.key} at {pair.replica.name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def aclose(self) -> None:
        """End what is under way."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_due(self, pair: Pair, now: float) -> bool:
        if now < pair.probe_at or not pair.replica.health.healthy:
            return False
        if not pair.health.healthy:
            return pair.health.due(now, needed=self._roster.is_panic(pair.version))
        version = pair.version
        if len(version.pairs) == 1:
            return False
        if not version.described:
            return True
        return bool(version.sample) and now - pair.heard_at >= self._settings.probe_interval_s

    async def _probe(self, pair: Pair) -> None:
        version = pair.version
        try:
            if not version.described:
                version.learn(await pair.replica.upstream.schema(*version.key))
            if pair.health.healthy:
                await self._prove(pair)
            else:
                await self._try_again(pair)
        except PenstockError as error:
            self._failed(pair, error)

    async def _prove(self, pair: Pair) -> None:
        """Send the sample to a version that is in service."""
        if not pair.version.sample:
            return
        await self._infer(pair)
        pair.recovered()

    async def _try_again(self, pair: Pair) -> None:
        """Put an ejected version back into service if it works now.

        Without a sample that is known to work, all that can be asked is whether Triton calls the version ready; it is
        then on trial, and the first failure of a client's request, which has a second attempt, ejects it again.
        """
        if pair.version.proven:
            await self._infer(pair)
            self._roster.readmit(pair)
        else:
            await pair.replica.upstream.document(f"{version_path(*pair.version.key)}/ready")
            self._roster.readmit(pair, on_trial=True)

    async def _infer(self, pair: Pair) -> None:
        version = pair.version
        known_s = version.hang_s if math.isfinite(version.hang_s) else 0.0
        timeout_s = max(self._settings.probe_timeout_s, known_s)
        request = InferRequest(version.model, inputs=list(version.sample))
        await pair.replica.upstream.attempt(request, version.version, timeout_s, timeout_s)
        version.proven = True
        pair.proved_at = self._clock()

    def _failed(self, pair: Pair, error: PenstockError) -> None:
        """Note a failure. A sample that never worked anywhere proves nothing by failing."""
        now = self._clock()
        if pair.health.healthy and pair.version.proven:
            self._judge.probe_failed(pair, rule_of(error), error, now)
        if pair.trouble_since or not pair.health.healthy:
            pair.probe_at = now + (_SOON_S if pair.health.healthy else self._settings.ready_interval_s)
        elif not pair.version.described:
            pair.probe_at = now + _DESCRIBE_EVERY_S
