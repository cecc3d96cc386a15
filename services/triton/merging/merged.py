"""One merged request on its way, and those who wait for their parts of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from services.core.errors import InvalidRequest, PenstockError, Unimplemented, UpstreamFailure
from services.core.inference import InferRequest, InferResponse
from services.triton.faults import NoAnswer
from services.triton.merging.rows import joined, parted

# What may be about one of the members alone.
_ABOUT_ONE = (InvalidRequest, UpstreamFailure, Unimplemented)
# An event loop's timers are that exact: what is due within this time is due.
_TIMER_S = 0.001


class Send(Protocol):
    """One exchange with one Triton."""

    def __call__(
        self, request: InferRequest, timeout_s: float, left_s: float, *, members: int, group: object
    ) -> Coroutine[Any, Any, InferResponse]:
        """Run one request, or so many that were merged; as ``TritonUpstream.attempt``."""
        ...


class Member:
    """One request that waits for others, and then for its part of the answer.

    Args:
        request: The request.
        size: Bytes of its inputs.
        timeout_s: Bound on its attempt.
        left_s: Time that it has in all.
        loop: The event loop.

    Attributes:
        answer: Its answer; None to send it by itself.
        merged: What it became a part of.
    """

    __slots__ = ("answer", "left_at", "merged", "request", "rows", "size", "timeout_at", "timeout_s")

    def __init__(
        self, request: InferRequest, size: int, timeout_s: float, left_s: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        now = loop.time()
        self.request = request
        self.rows = request.inputs[0].shape[0]
        self.size = size
        self.timeout_s = timeout_s
        self.timeout_at = now + timeout_s
        self.left_at = now + left_s
        self.answer: asyncio.Future[InferResponse | None] = loop.create_future()
        self.merged: Merged | None = None

    def leave(self) -> None:
        """Wait no longer: nobody is there any more to be told."""
        if self.answer.done() and not self.answer.cancelled():
            self.answer.exception()  # it was told at the same moment, and asyncio wants every error to be looked at
        if self.merged is not None:
            self.merged.left()


class Merged:
    """Several requests in one exchange.

    Args:
        members: Two or more of one signature.
        group: What their attempts are given up by.
        lingers: Told how many members more (or fewer) are with Triton although nobody waits for them.

    Attributes:
        group: The same.
        row_bytes: Bytes of the answer for each row; 0 before there is one.
    """

    def __init__(self, members: list[Member], group: object, lingers: Callable[[int], None]) -> None:
        self.group = group
        self.row_bytes = 0
        self._members = members
        self._waiting = len(members)
        self._lingers = lingers
        self._over = False
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        for member in members:
            member.merged = self

    async def run(self, send: Send) -> bool:
        """Make the exchange and tell every member; False if they have to be sent one by one.

        Every member has its own deadline: the exchange may take as long as the last of them.
        """
        members, loop = self._members, asyncio.get_running_loop()
        self._task = asyncio.current_task()
        now = loop.time()
        last = max([member.timeout_at for member in members])
        self._expire_by(loop, last)
        try:
            left_s = max([member.left_at for member in members]) - now
            request = joined([member.request for member in members])
            answer = await send(request, last - now, left_s, members=len(members), group=self.group)
            answers = parted(answer, [member.rows for member in members])
        except _ABOUT_ONE:
            for member in members:
                if not member.answer.done():
                    member.answer.set_result(None)
            return False
        except PenstockError as error:
            self.fail(error)
            return True
        finally:
            if self._timer is not None:
                self._timer.cancel()
        self.row_bytes = sum([len(output.data) for output in answer.outputs]) // request.inputs[0].shape[0]
        rode_along = False
        for member, part in zip(members, answers, strict=True):
            if not member.answer.done():
                part.rode_along, rode_along = rode_along, True
                member.answer.set_result(part)
        return True

    def left(self) -> None:
        """A member went away; with the last of them the exchange ends."""
        if self._over:
            return
        self._waiting -= 1
        self._lingers(1)
        if not self._waiting and self._task is not None:
            self._task.cancel()

    def ended(self) -> None:
        """Follow the end of the exchange: those who went away are not with Triton any more."""
        if not self._over:
            self._over = True
            self._lingers(self._waiting - len(self._members))

    def fail(self, error: BaseException) -> None:
        """End the wait of every member that is still there with an error."""
        fail(self._members, error)

    def _expire_by(self, loop: asyncio.AbstractEventLoop, last: float) -> None:
        """Set a timer for the first deadline, if it is before the last one."""
        self._timer = None
        waiting = [member.timeout_at for member in self._members if not member.answer.done()]
        if waiting and min(waiting) < last - _TIMER_S:
            self._timer = loop.call_at(min(waiting), self._expire, loop, last)

    def _expire(self, loop: asyncio.AbstractEventLoop, last: float) -> None:
        over = loop.time() + _TIMER_S
        for member in self._members:
            if member.timeout_at <= over and not member.answer.done():
                member.answer.set_exception(NoAnswer(f"no answer within {member.timeout_s:.3f} s"))
                member.merged = None
                self.left()
        self._expire_by(loop, last)


def fail(members: Iterable[Member], error: BaseException) -> None:
    """End the wait of every member that is still there with an error."""
    for member in members:
        if not member.answer.done():
            member.answer.set_exception(error)
