"""Who may go on to Triton: a limit for each model version, a cap on them all, and a short queue in order of urgency.

What is refused is refused at once wherever that can be known: no room in the queue, or no chance to have its turn in
time. A waiter that is let down later was overtaken by a more urgent one, or the model slowed down meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable

from services.core.errors import DeadlineExceeded, Overloaded, PenstockError, Unavailable
from services.core.limit import FixedLimit, KneeLimit, Limit
from services.core.route import RouteTable
from services.gateway.admission.expiries import Expiries
from services.gateway.admission.gate import Gate, Waiter
from services.gateway.admission.settings import AdmissionSettings
from services.gateway.admission.state import GateState, Refusal, RefusalHook

# A version may have four times as many in flight as are still free: alone it gets four fifths of the worker's places,
# two greedy ones get four ninths each, and there is always room for one that comes new. It is the dynamic threshold by
# which switches share their buffers (Choudhury and Hahne 1998).
_SHARE = 4
# Where limits begin: what Triton computes at once so many times, and never above; without a word of its configuration.
_AHEAD = 3
_MOST_INITIAL = 32
_UNKNOWN_LIMIT = 8


class Slot:
    """One request's place among those in flight."""

    __slots__ = ("_admission", "_gate")

    def __init__(self, admission: Admission, gate: Gate) -> None:
        self._admission = admission
        self._gate: Gate | None = gate

    def leave(self, duration_s: float, outcome: str) -> None:
        """Give the place back, once.

        Args:
            duration_s: How long Triton took, seconds; 0 when it was not asked or the time says nothing.
            outcome: The request's outcome (``Status.outcome``, ``cancelled`` or ``expired``), as far as it is known.
        """
        gate, self._gate = self._gate, None
        if gate is None:
            raise RuntimeError("a place in flight was given back twice")
        self._admission.left(gate, duration_s, outcome)


class Admission:
    """The gates of one worker.

    Args:
        settings: Bounds.
        workers: How many there are of this gateway: each begins with its share of what Triton computes at once.
        replicas: Returns how many Tritons there are.
        publish: Told the number in flight after every change.
        refused: Told of every refusal.
        clock: Seconds, monotonic; the clock of the deadlines.
        wall: Seconds on a clock that all workers in front of one Triton share; limits try new values by it.
    """

    def __init__(
        self,
        settings: AdmissionSettings | None = None,
        *,
        workers: int = 1,
        replicas: Callable[[], int] = lambda: 1,
        publish: Callable[[int], None] = lambda _: None,
        refused: RefusalHook = lambda _model, _version, _reason: None,
        clock: Callable[[], float] = time.perf_counter,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings or AdmissionSettings()
        self._workers = workers
        self._replicas = replicas
        self._publish = publish
        self._tell = refused
        self._clock = clock
        self._to_wall_s = wall() - clock()
        self._gates: dict[tuple[str, int], Gate] = {}
        self._served: frozenset[tuple[str, int]] | None = None
        self._cap = self._settings.max_in_flight
        self._in_flight = 0
        self._load = 0  # with those that linger
        self._queued: dict[Gate, None] = {}
        self._arrivals = itertools.count()
        self._expiries = Expiries(clock, self._expired)
        self._ending = False

    @property
    def in_flight(self) -> int:
        """Requests that were let in and have not left, of all versions."""
        return self._in_flight

    def enter(self, model: str, version: int, *, decoupled: bool = False, at_once: int = 0) -> Slot | None:
        """Let one request in at once, or return None when it has to wait.

        Args:
            model: The model.
            version: The version that was chosen.
            decoupled: Whether it is a stream.
            at_once: ``ModelSchema.at_once``.
        """
        gate = self._gates.get((model, version)) or self._new_gate(model, version, decoupled=decoupled, at_once=at_once)
        load = gate.in_flight + gate.lingering
        if load >= gate.limit.value or load >= _SHARE * (self._cap - self._load) or gate.waiting:
            return None
        return self._let_in(gate)

    async def wait(self, model: str, version: int, *, deadline: float, priority: int) -> Slot:
        """Wait for a place; for a request that ``enter`` did not let in.

        Args:
            model: The model.
            version: The version that was chosen.
            deadline: When the request's time is over, on ``clock``.
            priority: 1 is the highest; 0 is the setting ``default_priority``.

        Raises:
            Overloaded: It will not be its turn in time, or too many wait already.
            DeadlineExceeded: Its time was over while it waited.
            Unavailable: The worker ends.
        """
        gate = self._gates.get((model, version)) or self._new_gate(model, version)
        now = self._clock()
        gate.offer(now)
        if gate.load >= gate.limit.value:
            gate.limit.pressed(now + self._to_wall_s)
        urgency = (priority or self._settings.default_priority, deadline, next(self._arrivals))
        self._make_room(gate, urgency, now)
        if not gate.waiting:
            gate.pace.full(now)
        waiter = Waiter(gate, urgency, now, asyncio.get_running_loop().create_future())
        gate.waiting.add(waiter)
        self._queued[gate] = None
        self._expiries.add(min(deadline, now + gate.longest_wait_s()), waiter)
        self._admit_waiting()
        self._publish(self._in_flight)
        try:
            await waiter.place
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise
        return Slot(self, gate)

    def left(self, gate: Gate, duration_s: float, outcome: str) -> None:
        """Note that a request gave its place back, and let the next one in."""
        now = self._clock()
        if duration_s > 0:
            gate.limit.left(now + self._to_wall_s, duration_s, gate.load, outcome)
        gate.learn(now, duration_s, outcome)
        gate.in_flight -= 1
        self._in_flight -= 1
        self._load -= 1
        if self._queued:
            self._admit_waiting()
        elif gate.in_flight == 0 and self._served is not None:
            self._drop_if_idle(gate)
        self._publish(self._in_flight)

    def lingers(self, model: str, version: int, change: int) -> None:
        """Count requests that left, or were given up, and that Triton works on all the same.

        Their places stay taken: whoever gives them away again while Triton's queue is full of requests that nobody
        waits for fills it with more of them.
        """
        gate = self._gates.get((model, version))
        if gate is None:
            return
        change = max(change, -gate.lingering)
        gate.lingering += change
        self._load += change
        if change < 0 and self._queued:
            self._admit_waiting()
        elif not gate.load:
            self._drop_if_idle(gate)

    def has_spare(self, model: str, answered: int, mirrored: int, copies: int) -> bool:
        """Whether one version may get a copy of what another answered, so that no live request misses a place for it.

        Nobody waits, neither version is at its limit with its copies on top, and the worker has places left. Copies
        take no places themselves: whoever sends them bounds them.
        """
        if self._queued or self._ending or self._load + copies >= _SHARE * (self._cap - self._load):
            return False
        if (gate := self._gates.get((model, answered))) is not None and gate.load >= gate.limit.value:
            return False
        gate = self._gates.get((model, mirrored))
        return gate is None or gate.load + copies < gate.limit.value

    def load_of(self, model: str, version: int) -> int:
        """Return how many requests of one version Triton has, without copies."""
        return 0 if (gate := self._gates.get((model, version))) is None else gate.load

    def states(self) -> list[GateState]:
        """Return what every gate is like now."""
        return [gate.state() for gate in self._gates.values()]

    def retain(self, table: RouteTable) -> None:
        """Forget versions that the table does not list, as soon as nothing of them is in flight or waits."""
        self._served = frozenset(
            (route.model, version) for route in table.routes.values() for version in route.versions
        )
        for gate in list(self._gates.values()):
            self._drop_if_idle(gate)

    def close(self) -> None:
        """Refuse whoever waits, and whoever would have to wait from now on."""
        self._ending = True
        for gate in list(self._queued):
            for waiter in list(gate.waiting):
                self._refuse_waiter(waiter, Refusal.ENDING, self._ending_error())
        self._expiries.close()

    # Gates

    def _new_gate(self, model: str, version: int, *, decoupled: bool = False, at_once: int = 0) -> Gate:
        settings = self._settings
        limit: Limit
        if decoupled:
            limit = FixedLimit(settings.stream_limit)
        elif settings.fixed_limit:
            limit = FixedLimit(settings.fixed_limit)
        else:
            informed = bool(at_once) and not settings.initial_limit
            limit = KneeLimit(self._initial(at_once), settings.least_limit, settings.max_in_flight, informed=informed)
        gate = self._gates[model, version] = Gate(model, version, limit, settings)
        return gate

    def _initial(self, at_once: int) -> int:
        """Return where a limit begins: at this worker's share of what Triton computes at once, and as much in wait.

        With one batch that waits while one is computed no time is lost between them.
        """
        settings = self._settings
        if settings.initial_limit or not at_once:
            return settings.initial_limit or _UNKNOWN_LIMIT
        share = math.ceil(_AHEAD * at_once * max(1, self._replicas()) / self._workers)
        return max(settings.least_limit, min(_MOST_INITIAL, share))

    def _drop_if_idle(self, gate: Gate) -> None:
        key = (gate.model, gate.version)
        if self._served is not None and key not in self._served and not gate.load and not gate.waiting:
            self._gates.pop(key, None)

    # In

    def _let_in(self, gate: Gate) -> Slot:
        if gate.in_flight == 0:
            gate.pace.wake(self._clock())
        gate.in_flight += 1
        gate.admitted += 1
        self._in_flight += 1
        self._load += 1
        self._publish(self._in_flight)
        return Slot(self, gate)

    def _admit_waiting(self) -> None:
        """Let in whoever fits, the versions in turn."""
        now = self._clock()
        for gate in tuple(self._queued):
            granted = False
            while gate.waiting and self._has_room(gate):
                waiter = gate.waiting.pop()
                waiter.waits = False
                if waiter.place.done():  # cancelled a moment ago
                    continue
                if gate.hopeless(waiter, now) or now >= waiter.deadline:
                    self._count(gate, Refusal.EXPIRED if now >= waiter.deadline else Refusal.TOO_LATE)
                    waiter.place.set_exception(_expired_error(waiter, now))
                    continue
                gate.in_flight += 1
                gate.admitted += 1
                self._in_flight += 1
                self._load += 1
                waiter.place.set_result(None)
                granted = True
            if granted or not gate.waiting:
                del self._queued[gate]
                if gate.waiting:
                    self._queued[gate] = None

    def _has_room(self, gate: Gate) -> bool:
        load = gate.load
        return load < gate.limit.value and load < _SHARE * (self._cap - self._load)

    def _give_up(self, waiter: Waiter) -> None:
        """Take back what a cancelled request holds: its place in the queue, or the one in flight it had just got."""
        place = waiter.place
        if waiter.waits:
            self._take_out(waiter)
        elif not place.cancelled() and place.exception() is None:
            self.left(waiter.gate, 0.0, "cancelled")

    # Out

    def _make_room(self, gate: Gate, urgency: tuple[int, float, int], now: float) -> None:
        """Refuse the newcomer, or the least urgent waiter, when one has to be.

        Raises:
            Overloaded: The newcomer is the one.
            Unavailable: The worker ends.
        """
        if self._ending:
            self._count(gate, Refusal.ENDING)
            raise self._ending_error()
        rank = gate.waiting.rank(urgency)
        if len(gate.waiting) >= gate.capacity(now):
            self._shed(gate, now)
            if rank >= len(gate.waiting) >= gate.capacity(now):
                gate.turn_away(now)
                self._count(gate, Refusal.FULL)
                raise self._full_error(gate, now)
        if self._has_room(gate) and not gate.waiting:
            return
        wait_s, left_s = gate.wait_s(rank, now), urgency[1] - now
        needed_s = wait_s + gate.ample_s(now)
        if needed_s > left_s:
            gate.turn_away(now)  # or the queue would stand as long as its clients' patience
            self._count(gate, Refusal.TOO_LATE)
            raise Overloaded(
                f"{_name(gate)} would have an answer in about {needed_s:.3f} s ({rank} requests wait "
                f"before this one), and this request has {max(0.0, left_s):.3f} s left; allow more time or send less",
                gate.retry_after_s(now),
            )
        if len(gate.waiting) >= gate.capacity(now):
            error = Overloaded(
                f"a more urgent request took this one's place in the queue of {_name(gate)}; "
                "send it again later, with a higher priority, or send less",
                gate.retry_after_s(now),
            )
            self._refuse_waiter(gate.waiting.least, Refusal.DISPLACED, error)

    def _shed(self, gate: Gate, now: float) -> None:
        """Refuse the least urgent of a burst that goes on and on, before they have waited for long."""
        for _ in range(gate.excess(now)):
            error = Overloaded(
                f"more requests of {_name(gate)} came than it can take, so its queue was cut short after "
                f"{now - gate.waiting.least.since:.3f} s; try again later, or send less",
                gate.retry_after_s(now),
            )
            self._refuse_waiter(gate.waiting.least, Refusal.SHED, error)

    def _full_error(self, gate: Gate, now: float) -> Overloaded:
        retry_s = gate.retry_after_s(now)
        waiting = len(gate.waiting)
        if gate.load < gate.limit.value:
            what = f"this worker has {self._load} requests in flight, of {self._cap} that it may have"
        else:
            what = f"{gate.load} requests of {_name(gate)} are in flight, which is its limit now"
        return Overloaded(f"{what}, and {waiting} wait; try again after {retry_s:g} s, or send less", retry_s)

    def _ending_error(self) -> Unavailable:
        return Unavailable("this gateway worker is ending; send the request again", retry_after_s=0.1)

    def _refuse_waiter(self, waiter: Waiter, reason: Refusal, error: PenstockError) -> None:
        self._take_out(waiter)
        self._count(waiter.gate, reason)
        if not waiter.place.done():
            waiter.place.set_exception(error)

    def _take_out(self, waiter: Waiter) -> None:
        gate = waiter.gate
        waiter.waits = False
        gate.waiting.remove(waiter)
        if not gate.waiting:
            self._queued.pop(gate, None)
            self._drop_if_idle(gate)

    def _count(self, gate: Gate, reason: Refusal) -> None:
        gate.refused[reason] += 1
        self._tell(gate.model, gate.version, reason)

    def _expired(self, waiter: Waiter, now: float) -> None:
        if now >= waiter.deadline:
            self._refuse_waiter(waiter, Refusal.EXPIRED, _expired_error(waiter, now))
        else:
            waiter.gate.turn_away(now)
            self._refuse_waiter(waiter, Refusal.WAITED, self._waited_error(waiter, now))

    def _waited_error(self, waiter: Waiter, now: float) -> Overloaded:
        gate = waiter.gate
        return Overloaded(
            f"{_name(gate)} slowed down: this request waited {now - waiter.since:.3f} s, as long as any may, behind "
            f"{gate.in_flight} in flight; try again later, or send less",
            gate.retry_after_s(now),
        )


def _name(gate: Gate) -> str:
    return f"model '{gate.model}' version {gate.version}"


def _expired_error(waiter: Waiter, now: float) -> DeadlineExceeded:
    left_s = max(0.0, waiter.deadline - now)
    return DeadlineExceeded(
        f"the request has {left_s:.3f} s left after it waited {now - waiter.since:.3f} s for {_name(waiter.gate)}, too "
        "little for an answer; allow more time or send less"
    )
