"""Gathers requests for one version at one Triton that are ready in the same turns of the event loop.

Nobody waits for a timer: the first of them is sent three turns later, with those that came meanwhile, and a request
that nothing else is in flight beside is sent at once. What that saves is most of what a small request costs on its way:
Triton's front end, a Python backend's bookkeeping, and the system calls of both sides.

A merged request shares its fate only as far as it must. Each member has its own deadline and may leave. If the model or
Triton says no to what was sent, each is sent by itself, and where that happens often nothing is merged for a while; if
the replica is lost, each makes its own second attempt, by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.core.errors import PenstockError, Unavailable
from services.core.inference import InferRequest, InferResponse, Merging
from services.triton.faults import NoAnswer
from services.triton.merging.merged import Member, Merged, Send, fail
from services.triton.merging.rows import Signature, divided, signature_of
from services.triton.merging.settings import MergeSettings

# A merged request that has to be sent again in parts was for nothing: at most one in so many, or none for a while.
_REFUSED_SHARE = 0.05
_MOST_CREDIT = 4.0
_APART_S = 5.0
# What members of one merged request have in common: who may give them up, their signature, whether they are copies.
_Kin = tuple[object, Signature, bool]


class Merger:
    """Sends requests for one version to one Triton, several as one where they are ready together.

    Args:
        send: Makes an exchange.
        settings: Bounds.
        lingers: Told how many requests more (or fewer) are with Triton although nobody waits for them.
    """

    def __init__(self, send: Send, settings: MergeSettings, lingers: Callable[[int], None] = lambda _: None) -> None:
        self._send = send
        self._lingers = lingers
        self._settings = settings
        self._gathering: dict[_Kin, list[Member]] = {}
        self._under_way: dict[asyncio.Task[bool], Merged] = {}
        self._together_lately = False
        self._credit = 0.0
        self._apart_until = 0.0
        self._row_bytes = 1

    async def attempt(
        self,
        request: InferRequest,
        timeout_s: float,
        left_s: float,
        merging: Merging,
        *,
        busy: bool,
        group: object = None,
    ) -> InferResponse:
        """Run one request; errors as ``TritonUpstream.attempt``.

        Args:
            request: The request, already validated.
            timeout_s: Bound on this attempt.
            left_s: Time that the request has in all.
            merging: What the version takes.
            busy: Whether others are in flight already.
            group: What ``give_up`` knows this attempt by; only attempts of one group are merged.
        """
        if not (busy or self._together_lately):
            return await self._send(request, timeout_s, left_s, members=1, group=group)
        signature = signature_of(request)
        size = sum([len(tensor.data) for tensor in request.inputs])
        loop = asyncio.get_running_loop()
        now = loop.time()
        if signature is None or size > self._settings.max_request_bytes or now < self._apart_until:
            return await self._send(request, timeout_s, left_s, members=1, group=group)

        member = Member(request, size, timeout_s, left_s, loop)
        # Copies never make a client's request part of a larger batch.
        key = (group, signature, request.is_copy)
        gathered = self._gathering.get(key)
        if gathered is None:
            self._gathering[key] = [member]
            loop.call_soon(self._turn, loop, key, merging, self._settings.turns - 1)
        else:
            gathered.append(member)
        try:
            answer = await member.answer
        except asyncio.CancelledError:
            member.leave()
            raise
        if answer is not None:
            return answer
        passed_s = loop.time() - now
        if passed_s >= timeout_s:
            raise NoAnswer(f"no answer within {timeout_s:.3f} s")
        return await self._send(request, timeout_s - passed_s, left_s - passed_s, members=1, group=group)

    def give_up(self, group: object, error: PenstockError) -> None:
        """End the attempts of a group, those that are not sent yet among them."""
        for key in [key for key in self._gathering if key[0] is group]:
            fail(self._gathering.pop(key), error)
        for task, merged in self._under_way.items():
            if merged.group is group:
                merged.fail(error)
                task.cancel()

    async def aclose(self) -> None:
        """End everything."""
        error = Unavailable("the connection to Triton is closed")
        for gathered in self._gathering.values():
            fail(gathered, error)
        self._gathering.clear()
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _turn(self, loop: asyncio.AbstractEventLoop, key: _Kin, merging: Merging, further: int) -> None:
        if further:
            loop.call_soon(self._turn, loop, key, merging, further - 1)
            return
        gathered = self._gathering.pop(key, None)
        if gathered is None:
            return  # given up meanwhile
        members = [member for member in gathered if not member.answer.done()]
        bounds = self._settings
        sizes = [(member.rows, member.size) for member in members]
        self._together_lately = False
        # An answer is bounded as its requests are, by what answers were before it.
        most_rows = max(2, bounds.max_bytes // self._row_bytes)
        for places in divided(sizes, merging, bounds.max_requests, bounds.max_bytes, most_rows):
            if len(places) == 1:
                members[places[0]].answer.set_result(None)
            else:
                self._together_lately = True
                self._begin(loop, [members[place] for place in places], key)

    def _begin(self, loop: asyncio.AbstractEventLoop, members: list[Member], kin: _Kin) -> None:
        group, _, copies = kin
        merged = Merged(members, group, _ignore if copies else self._lingers)
        task = loop.create_task(merged.run(self._send))
        self._under_way[task] = merged
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[bool]) -> None:
        merged = self._under_way.pop(task)
        merged.ended()
        if task.cancelled():
            merged.fail(Unavailable("the request was given up"))
        elif (defect := task.exception()) is not None:
            merged.fail(defect)
        elif task.result():
            self._credit = min(_MOST_CREDIT, self._credit + _REFUSED_SHARE)
            self._row_bytes = merged.row_bytes or self._row_bytes
        else:
            self._credit -= 1.0
            if self._credit < 0.0:
                self._credit, self._apart_until = 0.0, task.get_loop().time() + _APART_S


def _ignore(_change: int) -> None:
    """Count no copies among the requests that linger: they take no places of clients."""
