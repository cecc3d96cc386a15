"""Where the experiments happen: the system under load, and what they ask it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import orjson
import psutil

from loadtest.bench.part import Part
from loadtest.bench.system import System, get
from loadtest.chaos.clients import Clients
from loadtest.chaos.journal import Summary
from services.core.errors import PenstockError

_POLL_S = 0.05
_START_TIMEOUT_S = 60.0
# More than the health checks of all workers send in this time.
_TRAFFIC = 20


class Stage:
    """A running system and its clients.

    Args:
        system: Several Tritons, a controller and a gateway.
        clients: The load on the gateway.
        say: Told of progress, in words.
        settle_s: Longest wait until a replica that is back has traffic again; 0 does not wait for traffic.
    """

    def __init__(self, system: System, clients: Clients, say: Callable[[str], None], settle_s: float) -> None:
        self.system = system
        self.clients = clients
        self.say = say
        self._settle_s = settle_s

    @property
    def requests(self) -> int:
        """Requests that have ended."""
        return len(self.clients.journal)

    def since(self, begun_s: float) -> Summary:
        """Return all requests from a moment until now, once the last of them has ended."""
        ended_s = time.monotonic()
        time.sleep(self.clients.deadline_s + 0.2)
        return self.clients.journal.between(begun_s, ended_s)

    def settle(self, triton: Part) -> bool:
        """Wait until a Triton is ready and has traffic again, and return whether it has."""
        self.system.await_ready(triton)
        deadline, before = time.monotonic() + self._settle_s, self._successes(triton)
        while time.monotonic() < deadline:
            if self._successes(triton) >= before + _TRAFFIC:
                return True
            time.sleep(_POLL_S)
        return False

    def in_rotation(self, triton: Part) -> bool:
        """Whether any worker of the gateway sends requests to a Triton, by the gateway's own word, up to 0.5 s old."""
        return self.system.gateway_metric("penstock_replica_healthy_workers", replica=triton.rest) > 0

    def await_ejection(self, triton: Part, since_s: float, until_s: float) -> float | None:
        """Wait until no worker sends requests to a Triton, and return how long that took; None when it never came."""
        while time.monotonic() < until_s:
            if not self.in_rotation(triton):
                return time.monotonic() - since_s
            time.sleep(2 * _POLL_S)
        return None

    def await_workers(self, count: int, without: frozenset[int]) -> None:
        """Wait until the gateway has so many workers that listen, none of them one of these.

        Raises:
            PenstockError: It takes too long.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            alive = {process.pid for process in self.system.gateway.workers()} - without
            with contextlib.suppress(PenstockError):
                listening = get(self.system.gateway.metrics, "/healthz").split()[0]
                if len(alive) == count and int(listening) >= count:
                    return
            time.sleep(_POLL_S)
        raise PenstockError(f"the gateway has not {count} fresh workers after {_START_TIMEOUT_S:g} s")

    def await_child(self, part: Part, words: str, *, other_than: psutil.Process) -> None:
        """Wait until a part has another child with these words in its command line.

        Raises:
            PenstockError: It takes too long.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(PenstockError):
                if part.child(words) != other_than:
                    return
            time.sleep(_POLL_S)
        raise PenstockError(f"{part.name} has no new child with '{words}' after {_START_TIMEOUT_S:g} s")

    def _successes(self, triton: Part) -> int:
        with contextlib.suppress(PenstockError, psutil.Error):
            document = orjson.loads(get(triton.rest, "/v2/models/stats"))
            return sum(int(one["inference_stats"]["success"]["count"]) for one in document["model_stats"])
        return 0
