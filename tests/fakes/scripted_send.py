"""The exchanges that a ``Merger`` makes, each of which waits for what a test makes of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from services.core.inference import InferRequest, InferResponse
from services.core.tensor import Tensor


@dataclass
class Sent:
    """One exchange.

    Attributes:
        request: What was sent.
        timeout_s: Bound on it.
        left_s: Time that Triton is told.
        members: How many requests it is.
        group: What it is given up by.
        cancelled: Whether it was ended before it had an answer.
    """

    request: InferRequest
    timeout_s: float
    left_s: float
    members: int
    group: object
    cancelled: bool = False
    _end: asyncio.Future[InferResponse] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def rows(self) -> bytes:
        """Its rows, of one byte each."""
        return bytes(self.request.inputs[0].data)

    @property
    def over(self) -> bool:
        """Whether it has an answer or an error, or was ended."""
        return self._end.done()

    def answer(self) -> None:
        """Answer with what was sent."""
        self.answer_with(*self.request.inputs)

    def answer_with(self, *outputs: Tensor) -> None:
        """Answer with these outputs."""
        self._end.set_result(InferResponse("m", 1, "", list(outputs), replica="r:1", exchange_s=0.5))

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        self._end.set_exception(error)

    async def wait(self) -> InferResponse:
        """Return what the test said."""
        try:
            return await self._end
        except asyncio.CancelledError:
            self.cancelled = True
            raise


@dataclass
class ScriptedSend:
    """Every exchange, in order; with ``answers`` each is answered at once."""

    answers: bool = False
    sent: list[Sent] = field(default_factory=list)

    async def __call__(
        self, request: InferRequest, timeout_s: float, left_s: float, *, members: int, group: object
    ) -> InferResponse:
        sent = Sent(request, timeout_s, left_s, members, group)
        self.sent.append(sent)
        if self.answers:
            sent.answer()
        return await sent.wait()

    @property
    def rows(self) -> list[bytes]:
        """The rows of every exchange, of one byte each."""
        return [sent.rows for sent in self.sent]
