"""Penstock as ``make bench`` runs it, and the same Triton without it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from loadtest.bench.model import SMALL
from loadtest.bench.part import Part
from loadtest.bench.system import HTTP_TIMEOUT_S, START_TIMEOUT_S, System
from loadtest.connection import HttpConnection
from loadtest.peers.forms import V2_BINARY, V2_JSON
from loadtest.peers.peer import PROCESSES, Serving, Site
from loadtest.record import Failure
from services.core.errors import PenstockError

_OK = 200
_POLL_S = 0.1


class PenstockPeer:
    """Triton, controller and a gateway of two workers, with everything on that a gateway does."""

    name = "Penstock"
    forms = (V2_JSON, V2_BINARY)

    def prepare(self, say: Callable[[str], None]) -> str:  # noqa: ARG002 - it is installed
        """Return what it is."""
        return "this one"

    @contextlib.contextmanager
    def serve(self, site: Site) -> Iterator[Serving]:
        """Start all three."""
        with System(site.repository, site.folder, PROCESSES) as system:
            yield Serving(system.gateway.rest, tuple(system.parts))


class TritonPeer:
    """Triton without a gateway: what every other figure of Penstock and Envoy is to be seen against."""

    name = "Triton direct"
    forms = (V2_JSON, V2_BINARY)

    def prepare(self, say: Callable[[str], None]) -> str:  # noqa: ARG002 - it is installed
        """Return what it is."""
        return "as Penstock's"

    @contextlib.contextmanager
    def serve(self, site: Site) -> Iterator[Serving]:
        """Start it, and load the model."""
        with triton_alone(site) as triton:
            yield Serving(triton.rest, (triton,))


@contextlib.contextmanager
def triton_alone(site: Site) -> Iterator[Part]:
    """Run the Triton of a system, with the model loaded, and nothing else of it."""
    triton = System(site.repository, site.folder).direct
    triton.start()
    try:
        with contextlib.closing(HttpConnection(triton.rest, HTTP_TIMEOUT_S)) as http:
            await_ok(triton, http, "GET", "/v2/health/ready")
            await_ok(triton, http, "POST", f"/v2/repository/models/{SMALL.name}/load")
            await_ok(triton, http, "GET", f"/v2/models/{SMALL.name}/ready")
        yield triton
    finally:
        triton.stop()


def await_ok(part: Part, http: HttpConnection, method: str, path: str) -> None:
    """Ask until the answer is 200.

    Raises:
        PenstockError: The process ended, or it takes too long.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        outcome = http.exchange(method, path)
        if not isinstance(outcome, Failure) and outcome[0] == _OK:
            return
        if (status := part.died()) is not None:
            raise PenstockError(f"{part.name} ended with {status}: {part.tail()}")
        if time.monotonic() > deadline:
            raise PenstockError(f"{part.name} gives no 200 to {path} after {START_TIMEOUT_S:g} s: {part.tail()}")
        time.sleep(_POLL_S)
