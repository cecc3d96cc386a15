"""Runs Locust as a library: spawns the users, starts the schedule when all have joined, and sees to a clean end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gevent
import locust.env
from gevent.event import Event

from loadtest.alarm import Alarm, CpuMeter
from loadtest.lanes import Run
from loadtest.record import Record
from loadtest.users import GrpcUser, OpenLoopUser, RestUser
from services.core.errors import PenstockError

HEARTBEAT_S = 0.02
JOIN_TIMEOUT_S = 30.0
GRACE_S = 1.0
_USERS: dict[str, type[OpenLoopUser]] = {"rest": RestUser, "grpc": GrpcUser}


@dataclass(frozen=True, slots=True)
class Result:
    """What a run left behind.

    Attributes:
        record: All counts.
        busy_share: How much of the measured time the generator's thread wanted a CPU, 0 to 1.
        started_at: Start of the schedule, seconds since 1970.
        stopped_by: The signal that ended it early, or empty.
    """

    record: Record
    busy_share: float
    started_at: float
    stopped_by: str


def generate(
    run: Run, connections: int, timeout_s: float, on_start: Callable[[], None], stop_signals: Sequence[signal.Signals]
) -> Result:
    """Carry out a run to its end, or until one of the signals.

    Args:
        run: What to do.
        connections: Users to spawn over all lanes.
        timeout_s: Bound on one request; requests in flight at the end get that long.
        on_start: Called when the schedule starts.
        stop_signals: Signals that end the run.

    Raises:
        PenstockError: A user failed for a reason of its own (a defect of the load test).
    """
    stop = _Stop(stop_signals)
    environment = locust.env.Environment(user_classes=_user_classes(run, connections))
    environment.run = run
    defects: list[str] = []
    environment.events.user_error.add_listener(
        lambda user_instance, exception, tb: defects.append(repr(exception))  # noqa: ARG005 - locust's keywords
    )
    runner = environment.create_local_runner()
    heart: gevent.Greenlet | None = None
    try:
        runner.start(connections, spawn_rate=connections)
        _await_users(run, connections, defects, stop)
        started_at = time.time()
        start_s = run.start()
        on_start()
        meter = CpuMeter()
        heart = gevent.spawn(_beat, run, start_s, meter)
        _await_end(run, runner, start_s, stop)
        busy_share = meter.share()
        run.end()
        runner.user_greenlets.join(timeout=timeout_s + GRACE_S)
        run.abandon()
    finally:
        if heart is not None:
            heart.kill()
        runner.quit()
        stop.close()
    if defects:
        raise PenstockError(f"the load generator itself failed: {defects[0]}; this is a defect, please report it")
    return Result(run.record, busy_share, started_at, stop.by)


class _Stop:
    """Whether a signal asked for the end."""

    def __init__(self, signals: Sequence[signal.Signals]) -> None:
        self.by = ""
        self.asked = Event()
        self._handlers = [gevent.signal_handler(one, self._ask, one) for one in signals]

    def _ask(self, number: signal.Signals) -> None:
        self.by = number.name
        self.asked.set()

    def close(self) -> None:
        """Give the signals back."""
        for handler in self._handlers:
            handler.cancel()


def _user_classes(run: Run, connections: int) -> list[type[OpenLoopUser]]:
    names = list(run.lanes)
    counts = [connections // len(names) + (number < connections % len(names)) for number in range(len(names))]
    return [
        type(_USERS[name].__name__, (_USERS[name],), {"fixed_count": count})
        for name, count in zip(names, counts, strict=True)
    ]


def _await_users(run: Run, connections: int, defects: list[str], stop: _Stop) -> None:
    deadline = time.monotonic() + JOIN_TIMEOUT_S
    while run.joined < connections and not stop.asked.is_set() and not defects:
        if time.monotonic() > deadline:
            raise PenstockError(f"only {run.joined} of {connections} connections were set up in {JOIN_TIMEOUT_S:g} s")
        gevent.sleep(0.01)


def _await_end(run: Run, runner: Any, start_s: float, stop: _Stop) -> None:
    """Wait until the schedule is over, or somebody asks for the end, or no user is left."""
    end_s = start_s + run.window_s[1]
    while time.monotonic() < end_s and runner.user_greenlets:
        if stop.asked.wait(min(1.0, max(0.0, end_s - time.monotonic()))):
            return


def _beat(run: Run, start_s: float, meter: CpuMeter) -> None:
    """Watch how late an idle greenlet wakes up; restart the CPU meter when the warm-up is over."""
    alarm = Alarm()
    warm = False
    due_s = start_s
    try:
        while True:
            alarm.wait_until(due_s)
            now_s = time.monotonic()
            run.record.late(due_s, now_s)
            if not warm and now_s >= start_s + run.window_s[0]:
                warm = True
                meter.start()
            due_s += HEARTBEAT_S  # a beat that was missed counts too: late by what is left of the pause
    finally:
        alarm.close()
