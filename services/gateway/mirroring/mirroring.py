"""Sends copies of answered requests to another version, and compares the answers. Live requests never wait for it.

    offer (on the response path: choose, bound, append) -> lane -> copy -> compare -> count (all off it)

A copy goes only while live requests leave capacity, waits for a while at most, is sent once, and its end is counted
whatever it is. What does not fit is not copied. Every task here is owned here, and ended by ``aclose``.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

from services.core.errors import DeadlineExceeded, Overloaded, PenstockError, Unavailable, UpstreamFailure
from services.core.inference import InferRequest, InferResponse, ModelSchema
from services.core.mirror import Mirror
from services.core.route import RouteTable
from services.gateway.edge.paced import paced
from services.gateway.limits import Limits
from services.gateway.metrics.mirror_series import MirrorSeries
from services.gateway.metrics.recorder import Recorder
from services.gateway.metrics.series import MIRROR_HELD, MIRROR_IN_FLIGHT, MIRROR_QUEUED
from services.gateway.metrics.vitals import Reading
from services.gateway.mirroring.compare import Comparer
from services.gateway.mirroring.copy import Copy, size_of
from services.gateway.mirroring.lane import Lane
from services.gateway.mirroring.outcome import Outcome
from services.gateway.mirroring.selection import Kind, Selection
from services.gateway.mirroring.settings import MirrorSettings
from services.gateway.routes import Choice
from services.gateway.schemas import SchemaCache
from services.gateway.validate import check
from services.triton.faults import Broken, NotSent
from services.triton.upstream import Upstream

# How soon a copy that found no capacity looks again, and how many begin in one turn of the event loop: they are ready
# together then, so that they go to Triton as one where the version allows that.
_LOOK_AGAIN_S = 0.01
_MOST_AT_ONCE = 8
# With so many requests in flight, one is computed and one may wait for it.
_ONE_WAITS = 2
# The part of the longest wait for which a copy looks for a batch to be a row of.
_RIDE_SHARE = 0.2

# Between two lines in the log about defects.
_SILENCE_S = 60.0

LaneKey = tuple[str, int, int]

_log = logging.getLogger(__name__)


class Capacity(Protocol):
    """What live requests leave to copies: ``Admission``."""

    def has_spare(self, model: str, answered: int, mirrored: int, copies: int) -> bool:
        """Whether one more copy may go to a version beside ``copies`` others."""
        ...

    def load_of(self, model: str, version: int) -> int:
        """Return how many live requests of a version Triton has."""
        ...


class Attributes(Protocol):
    """A request as its edge holds it: ``pipeline.Call``."""

    def attribute(self, name: str) -> str:
        """Return the value of a header or metadata key; empty without one."""
        ...


class Mirroring:
    """The copies of one worker.

    Args:
        upstream: Where models run.
        schemas: What versions take.
        capacity: Says what live requests leave.
        recorder: Where everything is counted.
        limits: Bounds on requests.
        settings: Bounds on copies.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        *,
        upstream: Upstream,
        schemas: SchemaCache,
        capacity: Capacity,
        recorder: Recorder,
        limits: Limits,
        settings: MirrorSettings | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings = settings or MirrorSettings()
        self._upstream = upstream
        self._schemas = schemas
        self._capacity = capacity
        self._recorder = recorder
        self._limits = limits
        self._clock = clock
        self._comparer = Comparer(self._settings.max_compared_bytes)
        self._selections: dict[str, Selection] = {}
        self._lanes: dict[LaneKey, Lane] = {}
        self._series: dict[LaneKey, MirrorSeries] = {}
        self._pumps: dict[Lane, asyncio.Handle] = {}
        self._tasks: dict[asyncio.Task[Outcome | None], tuple[Lane, Copy]] = {}
        self._held_bytes = 0
        self._silent_until = 0.0
        self._ending = False

    @property
    def held_bytes(self) -> int:
        """Bytes of tensors that copies keep alive."""
        return self._held_bytes

    def offer(
        self,
        call: Attributes,
        request: InferRequest,
        response: InferResponse,
        schema: ModelSchema,
        choice: Choice,
        *,
        forward_s: float,
    ) -> None:
        """Take note of an answered request, and choose whether it is copied; costs microseconds and waits for nothing.

        Args:
            call: The request at its edge.
            request: The request.
            response: Its answer.
            schema: The interface of the version that answered.
            choice: Which version answered, under which mirror.
            forward_s: Time that its answer took, where the answer itself does not say.
        """
        mirror = choice.mirror
        lane = None if mirror is None else self._chosen(request.model, choice.version, mirror)
        if lane is None or mirror is None:
            return
        size = size_of(request, response)
        if request.sequence is not None:
            lane.series.ended(Outcome.SEQUENCE)
        elif self._ending:
            lane.series.ended(Outcome.ENDING)
        elif len(lane.queue) >= self._settings.max_queued or self._held_bytes + size > self._settings.max_held_bytes:
            lane.series.ended(Outcome.FULL)
        else:
            self._held_bytes += size
            original_s = response.exchange_s or forward_s
            value = _attribute(call, request, mirror.slice_key) if mirror.slice_key else ""
            copy = Copy(request, response, schema, mirror, original_s, value=value, since=self._clock(), size=size)
            lane.queue.append(copy)
            self._pump_soon(lane)

    def skip_stream(self, model: str, choice: Choice) -> None:
        """Count a stream of a decoupled model that would have been copied."""
        lane = None if choice.mirror is None else self._chosen(model, choice.version, choice.mirror)
        if lane is not None:
            lane.series.ended(Outcome.DECOUPLED)

    def retain(self, table: RouteTable) -> None:
        """Drop the copies that wait for versions that are not mirrored to any more."""
        for lane in list(self._lanes.values()):
            route = table.routes.get(lane.model)
            mirror = None if route is None else route.mirror
            if mirror is not None and lane.mirrored in {mirror.version, lane.answered}:
                continue
            self._empty(lane)
            if not lane.in_flight:
                del self._lanes[lane.key]
        for model in [model for model in self._selections if model not in table.routes]:
            del self._selections[model]

    def readings(self) -> Iterator[Reading]:
        """Yield what waits, what is under way and what that holds."""
        queued: Counter[tuple[str, str]] = Counter()
        in_flight: Counter[tuple[str, str]] = Counter()
        for lane in self._lanes.values():
            labels = (lane.model, str(lane.mirrored))
            queued[labels] += len(lane.queue)
            in_flight[labels] += lane.in_flight
        for labels in queued:
            yield MIRROR_QUEUED, labels, queued[labels]
            yield MIRROR_IN_FLIGHT, labels, in_flight[labels]
        yield MIRROR_HELD, (), self._held_bytes

    async def aclose(self) -> None:
        """Copy nothing more: drop what waits, let what is under way finish in bounded time, end the rest."""
        self._ending = True
        for lane in self._lanes.values():
            self._empty(lane)
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=self._settings.drain_s)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _chosen(self, model: str, answered: int, mirror: Mirror) -> Lane | None:
        """Return the lane of a copy of the next request that this version answered; None for no copy."""
        if answered == mirror.version:
            return None
        selection = self._selections.get(model)
        if selection is None:
            selection = self._selections[model] = Selection()
        kind = selection.pick(mirror)
        if kind is None:
            return None
        key = (model, answered, answered if kind is Kind.FLOOR else mirror.version)
        lane = self._lanes.get(key)
        if lane is None:
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = MirrorSeries(self._recorder, *key)
            lane = self._lanes[key] = Lane(*key, series, self._settings.max_in_flight)
        return lane

    def _empty(self, lane: Lane) -> None:
        handle = self._pumps.pop(lane, None)
        if handle is not None:
            handle.cancel()
        while lane.queue:
            self._ended(lane, lane.queue.popleft(), Outcome.ENDING)

    # Sending

    def _pump_soon(self, lane: Lane, delay_s: float = 0.0) -> None:
        """Look at what waits in a moment, once, whoever asks how often."""
        if self._ending or lane in self._pumps:
            return
        loop = asyncio.get_running_loop()
        if delay_s:
            self._pumps[lane] = loop.call_later(delay_s, self._pump, lane)
        else:
            self._pumps[lane] = loop.call_soon(self._pump, lane)

    def _pump(self, lane: Lane) -> None:
        """Begin the copies for which there is room now, and drop those that have waited for too long."""
        del self._pumps[lane]
        now = self._clock()
        oldest = now - self._settings.longest_wait_s
        begun = 0
        while lane.queue and begun < _MOST_AT_ONCE:
            if lane.rests(now):
                self._ended(lane, lane.queue.popleft(), Outcome.RESTING)
            elif lane.queue[0].since < oldest:
                self._ended(lane, lane.queue.popleft(), Outcome.BUSY)
            elif self._has_room(lane, lane.queue[0], now):
                begun += 1
                self._begin(lane, lane.queue.popleft())
            else:
                break
        if lane.queue:
            self._pump_soon(lane, 0.0 if begun == _MOST_AT_ONCE else _LOOK_AGAIN_S)

    def _has_room(self, lane: Lane, copy: Copy, now: float) -> bool:
        if not lane.has_place or len(self._tasks) >= self._settings.most_in_flight:
            return False
        if not self._capacity.has_spare(lane.model, lane.answered, lane.mirrored, lane.in_flight):
            return False
        return not lane.is_floor or self._rides_along(lane, copy, now)

    def _rides_along(self, lane: Lane, copy: Copy, now: float) -> bool:
        """Whether a copy for the version that answers clients costs them least now.

        Where that version computes batches, a copy that finds a request waiting becomes a row of its batch, and one
        that finds nobody becomes a batch that the next request waits for. Where it does not, or where no request
        waited for a while, it goes when nobody is there.
        """
        live = self._capacity.load_of(lane.model, lane.answered)
        if copy.schema.at_once > 1 and now - copy.since < _RIDE_SHARE * self._settings.longest_wait_s:
            return live >= _ONE_WAITS
        return live == 0

    def _begin(self, lane: Lane, copy: Copy) -> None:
        lane.in_flight += 1
        task = asyncio.get_running_loop().create_task(self._run(lane, copy))
        self._tasks[task] = lane, copy
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Outcome | None]) -> None:
        lane, copy = self._tasks.pop(task)
        lane.in_flight -= 1
        self._ended(lane, copy, Outcome.ENDING if task.cancelled() else task.result())
        if lane.queue:
            self._pump_soon(lane)

    def _ended(self, lane: Lane, copy: Copy, outcome: Outcome | None) -> None:
        """Let go of a copy, and count its end where the pair did not."""
        self._held_bytes -= copy.size
        if outcome is not None:
            lane.series.ended(outcome)

    async def _run(self, lane: Lane, copy: Copy) -> Outcome | None:
        """Send one copy and compare; return why there is no pair, or None where one was counted."""
        try:
            response, copy_s = await self._answer(lane, copy)
            comparison = self._comparer.compare(copy.response.outputs, response.outputs, copy.schema, copy.mirror)
            result = await paced(comparison)
        except PenstockError as error:
            return Outcome.REFUSED if _says_nothing(error) else Outcome.FAILED
        except Exception as error:  # noqa: BLE001 - nobody else looks at this task, and no client hears of it
            self._tell(lane, error)
            return Outcome.DEFECT
        lane.series.compared(result, copy.original_s, copy_s, copy.mirror.slice_key, copy.value)
        return None

    def _tell(self, lane: Lane, defect: Exception) -> None:
        """Log a defect of ours; of those that follow only the count, for a while."""
        now = self._clock()
        if now >= self._silent_until:
            self._silent_until = now + _SILENCE_S
            _log.error("incident %s: a copy for model %r", uuid.uuid4().hex[:12], lane.model, exc_info=defect)

    async def _answer(self, lane: Lane, copy: Copy) -> tuple[InferResponse, float]:
        """Return the copy's answer, and how long it took at Triton, seconds."""
        clock, deadline = self._clock, self._clock() + self._settings.timeout_s
        try:
            schema = self._schemas.get(lane.model, lane.mirrored)
            if schema is None:
                schema = await self._schemas.fetch(lane.model, lane.mirrored, self._settings.timeout_s)
            message = copy.message()
            check(message, schema, self._limits)
            sent = clock()
            response = await self._upstream.infer(message, lane.mirrored, max(0.0, deadline - sent))
        except PenstockError as error:
            if isinstance(error, DeadlineExceeded):
                lane.timed_out(clock())
            else:
                lane.heard()
            if isinstance(error, Unavailable):
                self._schemas.forget(lane.model, lane.mirrored)
            raise
        lane.heard()
        if response.version != lane.mirrored:
            raise UpstreamFailure(
                f"version {lane.mirrored} of model '{lane.model}' was asked, and version {response.version} answered"
            )
        return response, response.exchange_s or clock() - sent


def _says_nothing(error: PenstockError) -> bool:
    """Whether a copy's end is no fault of its version: it was refused for want of room, or perhaps never arrived."""
    return isinstance(error, Overloaded | NotSent) or (isinstance(error, Broken) and error.stale)


def _attribute(call: Attributes, request: InferRequest, name: str) -> str:
    """Return the value of a request's attribute: a header or metadata key, else a parameter, else nothing."""
    value = call.attribute(name)
    if value:
        return value
    parameter = request.parameters.get(name)
    if isinstance(parameter, bool):
        return "true" if parameter else "false"
    return "" if parameter is None else str(parameter)
