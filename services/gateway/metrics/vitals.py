"""What a worker is busy with at the moment, published twice a second, and how late its event loop runs.

Gauges are sampled here and not written by the requests: a request costs nothing for them, and a scrape that comes every
few seconds does not see the difference.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from services.gateway.metrics.recorder import Recorder
from services.gateway.metrics.series import LOOP_LAG

# Family, labels and present value of a gauge.
Reading = tuple[str, tuple[str, ...], int]
Source = Callable[[], Iterable[Reading]]


class Vitals:
    """Publishes a worker's gauges.

    Args:
        recorder: Where to.
        sources: Give the present values; a gauge that none gives any more is taken back.
        look_s: Time between two looks at the event loop's lag.
        looks: Looks between two readings of the sources.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        recorder: Recorder,
        sources: Sequence[Source],
        *,
        look_s: float = 0.1,
        looks: int = 5,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._recorder = recorder
        self._sources = sources
        self._look_s = look_s
        self._looks = looks
        self._clock = clock
        self._published: set[tuple[str, tuple[str, ...]]] = set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            self.publish()
            for _ in range(self._looks):
                asked = self._clock()
                await asyncio.sleep(self._look_s)
                self._recorder.add_time(LOOP_LAG, max(0.0, self._clock() - asked - self._look_s))

    def publish(self) -> None:
        """Read every source once."""
        put = self._recorder.put
        seen: set[tuple[str, tuple[str, ...]]] = set()
        for source in self._sources:
            for family, labels, value in source():
                put(family, labels, value)
                seen.add((family, labels))
        for family, labels in self._published - seen:
            put(family, labels, None)
        self._published = seen
