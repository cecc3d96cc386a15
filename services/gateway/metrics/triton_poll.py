"""Asks every replica of Triton for its statistics, from the parent, and settles where the time went.

Which replicas there are is read from the workers' gauges: the parent looks up no names of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

import orjson

from services.core.address import Address
from services.core.errors import ConfigurationError, PenstockError, UpstreamFailure
from services.gateway.metrics.merged import MergedSlabs
from services.gateway.metrics.series import HEALTHY
from services.gateway.metrics.time_split import TimeSplit, gateway_times
from services.gateway.metrics.triton_times import ReplicaTimes, times_of
from services.triton.http import HttpPool

_PATH = "/v2/models/stats"
_FRESH = {"Connection": "close"}  # a Triton that was told to end waits for connections that are kept
_OK = 200
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_AT_ONCE = 8

_log = logging.getLogger(__name__)


class TritonPoll:
    """Keeps a ``TimeSplit`` up to date.

    Args:
        slabs: The workers' counts, and the replicas that they know.
        split: What is settled.
        period_s: Time from one look to the next.
        timeout_s: How long one replica may take to answer; one that does not is left out of the look.
    """

    def __init__(self, slabs: MergedSlabs, split: TimeSplit, *, period_s: float = 2.0, timeout_s: float = 1.0) -> None:
        self._slabs = slabs
        self._split = split
        self._period_s = period_s
        self._timeout_s = timeout_s
        self._times = ReplicaTimes()
        self._pools: dict[str, HttpPool] = {}
        self._silent: set[str] = set()

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                await self.look()
                await asyncio.sleep(self._period_s)
        finally:
            for pool in self._pools.values():
                await pool.aclose()

    async def look(self) -> None:
        """Ask every replica once, and distribute what was added since the last look."""
        gauges = self._slabs.gauges().items()
        await self._follow({key[1] for key, (known, _) in gauges if key[0] == HEALTHY and known})
        slots = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as asking:
            for replica, pool in self._pools.items():
                asking.create_task(self._ask(replica, pool, slots))
        # After Triton: what it has counted is then counted here too, unless it is on its way back.
        self._split.settle(gateway_times(self._slabs.merged()), self._times.totals)

    async def _follow(self, replicas: set[str]) -> None:
        for gone in self._pools.keys() - replicas:
            await self._pools.pop(gone).aclose()
            self._silent.discard(gone)
        self._times.retain(replicas)
        for new in sorted(replicas - self._pools.keys()):
            with contextlib.suppress(ConfigurationError):  # a name that is no address is no replica's
                address = Address.parse(new, "replica")
                self._pools[new] = HttpPool(
                    address.host, address.port, max_connections=1, max_response_bytes=_MAX_ANSWER_BYTES
                )

    async def _ask(self, replica: str, pool: HttpPool, slots: asyncio.Semaphore) -> None:
        try:
            async with slots:
                response = await pool.request("GET", _PATH, _FRESH, timeout_s=self._timeout_s)
            if response.status != _OK:
                raise UpstreamFailure(f"{replica} answered {response.status} to {_PATH}")
            self._times.take(replica, times_of(orjson.loads(response.body)))
        except (PenstockError, orjson.JSONDecodeError) as error:
            if replica not in self._silent:
                _log.warning("no statistics of %s: %s; its share of the time is not known meanwhile", replica, error)
            self._silent.add(replica)
        else:
            self._silent.discard(replica)
