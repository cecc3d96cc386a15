"""A controller that takes outcomes over the real protocol and stores nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from services.gateway.control.controllers import Controllers
from services.pb.penstock.v1 import feedback_pb2, feedback_pb2_grpc


class FeedbackController(feedback_pb2_grpc.FeedbackServiceServicer):  # type: ignore[misc] # generated code has no types
    """Takes every outcome, or refuses each call with a status.

    Attributes:
        got: Every report that came.
        refuses: The status; None takes everything.
        answers: What it says was done with each outcome.
        delay_s: How long it hesitates.
    """

    def __init__(self) -> None:
        self.got: list[feedback_pb2.OutcomeReport] = []
        self.refuses: grpc.StatusCode | None = None
        self.answers = "stored"
        self.delay_s = 0.0

    async def ReportOutcomes(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name is the protocol's
        self.got.append(request)
        await asyncio.sleep(self.delay_s)
        if self.refuses is not None:
            await context.abort(self.refuses, "because")
        return feedback_pb2.OutcomeReceipt(taken=[self.answers] * len(request.outcomes))


_END_S = 1.0


@asynccontextmanager
async def feedback_controller() -> AsyncIterator[tuple[FeedbackController, Controllers]]:
    """Run one on a free port, and return it with the gateway's way to it."""
    server, controller = grpc.aio.server(), FeedbackController()
    feedback_pb2_grpc.add_FeedbackServiceServicer_to_server(controller, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    controllers = Controllers([f"127.0.0.1:{port}"])
    try:
        yield controller, controllers
    finally:
        await controllers.aclose()
        # Calls end before the loop does: their last events would find it closed, and fail another test.
        await server.stop(_END_S)
