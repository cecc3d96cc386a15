"""Offers a rate to a model, open loop, and counts what came too late."""

from __future__ import annotations

import asyncio
import time

from loadtest.overload.arithmetic import OK, lateness_s, quantile
from loadtest.raw_generator import NO_ANSWER, NOT_SENT, Generator, Shot
from loadtest.schedule import Process, offsets
from loadtest.tune.goodput import Window
from loadtest.tune.target import Slo
from services.core.errors import Unavailable, UpstreamFailure

_LEAD_IN_S = 0.5
# A window is longer at low rates: a quantile of a few requests says nothing.
_LEAST_REQUESTS = 400
_LONGEST = 4.0
# So many times too many slow requests, and the window is lost for sure.
_LOST = 3
_MOST_CONNECTIONS = 1024
_LEAST_PATIENCE_S = 0.5
# A model that was just loaded may take its time.
_WARM_UP_PATIENCE_S = 10.0
# A queue is empty when a request that was put behind everything else in it is answered.
_SETTLE_S = 60.0
_AGAIN_S = 0.1
_OVERLOADED = (NO_ANSWER, 429, 503, 504)
# The generator may be late by so much of the bound before it, and not Triton, is what is measured.
_LATE_SHARE = 0.25


class Offering:
    """Sends one request to one address at a given rate.

    Args:
        address: HOST:PORT of Triton's HTTP endpoint.
        message: The request.
        slo: What is too late.
        window_s: Length of a window in seconds.
        seed: Of the arrivals.
    """

    def __init__(self, address: str, message: bytes, slo: Slo, window_s: float, seed: int) -> None:
        self._address, self._message, self._slo, self._window_s, self._seed = address, message, slo, window_s, seed

    async def warm_up(self, connections: int, seconds: float) -> float:
        """Keep so many requests in flight for a while and return the answers per second.

        Raises:
            UpstreamFailure: A request was not answered.
        """
        shots = await self._generator(_WARM_UP_PATIENCE_S).closed_loop(connections, seconds)
        wrong = next((shot for shot in shots if shot.status != OK), None)
        if wrong is not None or not shots:
            raise UpstreamFailure(
                f"Triton at {self._address} answers with status {wrong.status if wrong else 'nothing'}"
            )
        return len(shots) / seconds

    async def settle(self) -> None:
        """Wait until Triton is done with what was offered, which may be far more than it carries.

        Raises:
            Unavailable: It is not, after a minute.
        """
        deadline = time.monotonic() + _SETTLE_S
        while (left_s := deadline - time.monotonic()) > 0:
            (shot,) = await self._generator(left_s).open_loop([0.0])
            if shot.status not in _OVERLOADED:
                return
            await asyncio.sleep(_AGAIN_S)
        raise Unavailable(
            f"Triton at {self._address} has not worked off its queue in {_SETTLE_S:g} s; "
            "is something else asking this model?"
        )

    async def offer(self, rate: float, length: float = 1.0) -> Window:
        """Offer a rate for ``length`` windows, to an empty queue, and return what became of the requests.

        Raises:
            Unavailable: The queue does not become empty.
        """
        await self.settle()
        seconds = min(max(self._window_s, _LEAST_REQUESTS / rate), _LONGEST * self._window_s) * length
        due = list(offsets(Process.POISSON, rate, self._seed, _LEAD_IN_S + seconds))
        planned = sum(at >= _LEAD_IN_S for at in due)
        lost_at = _LOST * max(1, self._slo.tolerated(planned)) + 1
        slow = 0

        def is_lost(shot: Shot) -> bool:
            nonlocal slow
            slow += shot.due >= _LEAD_IN_S and not self._is_good(shot)
            return slow >= lost_at

        patience_s = max(_LEAST_PATIENCE_S, 2 * self._slo.bound_s)
        shots = await self._generator(patience_s).open_loop(due, is_lost)
        measured = [shot for shot in shots if shot.due >= _LEAD_IN_S]
        late_s = quantile(lateness_s(measured), 0.99) if measured else 0.0
        incapable = ""
        if any(shot.status == NOT_SENT for shot in measured):
            incapable = f"{_MOST_CONNECTIONS} connections were busy"
        elif late_s > _LATE_SHARE * self._slo.bound_s:
            incapable = f"the load generator sent {late_s * 1e3:.1f} ms late (p99)"
        latencies = [shot.done - shot.due if shot.status == OK else float("inf") for shot in measured]
        stopped = slow >= lost_at
        return Window(
            rate=rate,
            offered=len(measured),
            slow=sum(not self._is_good(shot) for shot in measured),
            tolerated=self._slo.tolerated(len(measured)),
            quantile_s=self._slo.quantile_s(latencies),
            stopped=stopped,
            # One that is lost is lost, whoever was late: connections pile up at a server that does not answer.
            incapable="" if stopped else incapable,
        )

    def _is_good(self, shot: Shot) -> bool:
        return shot.status == OK and shot.done - shot.due <= self._slo.bound_s

    def _generator(self, patience_s: float) -> Generator:
        return Generator(self._address, self._message, patience_s, _MOST_CONNECTIONS)
