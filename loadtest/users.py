"""Locust users: each is one connection that sends real inputs when the schedule says so and checks the answers.

Locust's own pacing is a closed loop: a user that waits for a slow answer sends nothing meanwhile, and the stall is seen
once instead of by every request that it delayed. Here a user takes its arrivals from a schedule that waits for nobody
(``loadtest/arrivals.py``), and latency counts from the intended send time.
"""

from __future__ import annotations

import time

import grpc.experimental.gevent as grpc_gevent
from gevent import GreenletExit
from locust import User, constant, task
from locust.exception import StopUser

from loadtest.alarm import Alarm
from loadtest.arrivals import Arrival
from loadtest.lanes import Run
from loadtest.record import Answer, Failure

# Importing locust has patched the standard library; gRPC's core must learn of gevent before its first channel.
grpc_gevent.init_gevent()

ENDED = "the run ended before the answer"


class OpenLoopUser(User):  # type: ignore[misc] # locust is untyped
    """One connection of a ``Run``, which the environment carries as ``run``."""

    abstract = True
    wait_time = constant(0)
    protocol = ""

    def on_start(self) -> None:
        """Join the run and wait for its start."""
        self._run: Run = self.environment.run
        self._lane = self._run.lanes[self.protocol]
        self._connection = self._run.connect(self.protocol)
        self._alarm = Alarm()
        self._run.alarms.add(self._alarm)
        self._run.joined += 1
        self._run.started.wait()

    def on_stop(self) -> None:
        """Leave the run."""
        self._run.alarms.discard(self._alarm)
        self._alarm.close()
        self._connection.close()

    @task  # type: ignore[untyped-decorator] # locust is untyped
    def send_when_due(self) -> None:
        """Wait for the next arrival's time, send it and record what came back."""
        arrival = self._lane.arrivals.take(time.monotonic())
        if arrival is None:
            raise StopUser
        if not arrival.overdue:
            self._alarm.wait_until(arrival.due_s)
            if not self._lane.arrivals.happens(arrival):
                raise StopUser
            self._run.record.late(arrival.due_s, time.monotonic())
        payload = self._lane.payloads[arrival.index % len(self._lane.payloads)]
        try:
            outcome = self._connection.send(payload)
        except GreenletExit:
            self._run.record.fail(arrival, time.monotonic(), Failure(ENDED, "stopped while waiting for the answer"))
            raise
        self._note(arrival, outcome)

    def _note(self, arrival: Arrival, outcome: Answer | Failure) -> None:
        done_s = time.monotonic()
        exception: Exception | None = None
        if isinstance(outcome, Failure):
            self._run.record.fail(arrival, done_s, outcome)
            exception = RuntimeError(outcome.kind)
        else:
            self._run.record.answer(arrival, done_s, self.protocol, outcome)
            if outcome.right < outcome.items:
                exception = RuntimeError("wrong answer")
        self.environment.events.request.fire(
            request_type=self.protocol,
            name="infer",
            response_time=(done_s - arrival.due_s) * 1e3,
            response_length=0,
            exception=exception,
            context={},
        )


class RestUser(OpenLoopUser):
    """Sends binary tensors over REST."""

    protocol = "rest"


class GrpcUser(OpenLoopUser):
    """Sends raw tensors over gRPC."""

    protocol = "grpc"
