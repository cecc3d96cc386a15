"""What the connections of one REST server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from services.core.errors import PenstockError
from services.gateway.edge.buffer_budget import BufferBudget
from services.gateway.edge.rest.bridge import Bridge
from services.gateway.edge.rest.infer import InferHead
from services.gateway.edge.rest.opening import Openings
from services.gateway.limits import Limits
from services.gateway.pipeline import Pipeline
from services.gateway.routes import Routes

if TYPE_CHECKING:
    from services.gateway.edge.rest.connection import RestConnection


class Site:
    """The pipeline, the documents, the bounds and the clock of one server.

    Attributes:
        now: The clock of every timeout, in seconds: coarse, and it stands still while this process does, so that no
            client pays for a machine that was busy elsewhere.
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
    ) -> None:
        self.pipeline = pipeline
        self._routes = routes
        self.bridge = bridge
        self.limits = limits
        self.budget = budget
        self.draining = draining
        self.loop = loop
        self.openings = Openings(limits)
        self.connections: set[RestConnection] = set()
        self.active = 0
        self.now = 0.0
        self.quiet = asyncio.Event()  # set while there is neither a connection nor a request
        self.quiet.set()

    def unserved(self, infer: InferHead) -> PenstockError | None:
        """Return why a model or version is not served now; None when it is. Nothing is read for one that is not."""
        try:
            self._routes.route(infer.model, infer.version)
        except PenstockError as error:
            return error
        return None

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
