"""What every call of one worker shares."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from services.gateway.catalog import Catalog
from services.gateway.edge.buffer_budget import BufferBudget
from services.gateway.edge.grpc.request_wire import RequestWire
from services.gateway.limits import Limits
from services.gateway.pipeline import Pipeline

PROTOCOL = "grpc"


@dataclass(slots=True)
class Site:
    """One worker's gRPC side.

    Attributes:
        pipeline: Where inference goes.
        catalog: Where documents come from.
        limits: Bounds.
        budget: The worker's bytes of requests.
        wire: How inference requests are read.
        tasks: What works on calls now.
    """

    pipeline: Pipeline
    catalog: Catalog
    limits: Limits
    budget: BufferBudget
    wire: RequestWire
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def finish(self) -> None:
        """End whatever still works on calls whose clients are gone."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
