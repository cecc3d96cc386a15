"""What the connections of one REST server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from services.core.errors import PenstockError
from services.gateway.edge.buffer_budget import BufferBudget
from services.gateway.edge.client_clock import ClientClock
from services.gateway.edge.rest.bridge import Bridge
from services.gateway.edge.rest.opening import Opening, Openings
from services.gateway.limits import Limits
from services.gateway.pipeline import Pipeline
from services.gateway.routes import Routes

if TYPE_CHECKING:
    from services.gateway.edge.rest.connection import RestConnection


class Site:
    """The pipeline, the documents, the bounds and the clock of one server.

    Attributes:
        clock: The clock of every timeout.
        connections: Every open connection.
        active: Requests that are being answered.

    Args:
        pipeline: Where inference requests go.
        routes: Which models are served.
        bridge: Where all others go.
        limits: Bounds.
        budget: Bytes of requests that the worker may hold.
        draining: Whether the worker is on its way out: then every answer asks the client to close its connection.
        loop: The event loop.
        clock: The clock of every timeout.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        routes: Routes,
        bridge: Bridge,
        limits: Limits,
        budget: BufferBudget,
        draining: Callable[[], bool],
        loop: asyncio.AbstractEventLoop,
        clock: ClientClock,
    ) -> None:
        self.pipeline = pipeline
        self._routes = routes
        self.bridge = bridge
        self.limits = limits
        self.budget = budget
        self.draining = draining
        self.loop = loop
        self._openings = Openings(limits)
        self.connections: set[RestConnection] = set()
        self.active = 0
        self.clock = clock
        self.quiet = asyncio.Event()  # set while there is neither a connection nor a request
        self.quiet.set()

    def read_head(self, raw: bytes) -> Opening:
        """Return what a head says; a request for a model that is not served is refused before its body is read.

        Raises:
            HttpRefusal: It cannot be read, and neither can what follows it.
        """
        opening = self._openings.read(raw)
        if opening.infer is not None and opening.refusal is None:
            try:
                self._routes.route(opening.infer.model, opening.infer.version)
            except PenstockError as error:
                return opening._replace(refusal=error)
        return opening

    def opened(self, connection: RestConnection) -> bool:
        """Count a connection; False when it is one too many."""
        if len(self.connections) >= self.limits.max_connections:
            return False
        self.connections.add(connection)
        self.quiet.clear()
        return True

    def closed(self, connection: RestConnection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        self.settle()

    def settle(self) -> None:
        """Notice when nothing is left."""
        if not self.connections and not self.active:
            self.quiet.set()
