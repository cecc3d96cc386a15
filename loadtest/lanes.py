"""One run in progress, as its users share it: a lane of arrivals per protocol, the requests to send and the record."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gevent.event import Event

from loadtest.alarm import Alarm
from loadtest.arrivals import Arrivals
from loadtest.connection import GrpcConnection, RestConnection
from loadtest.dataset import Dataset
from loadtest.payload import Interface, Payload, grpc_payloads, rest_payloads
from loadtest.record import Record
from loadtest.schedule import offsets
from loadtest.slo_file import Load, Target

START_DELAY_S = 0.05


@dataclass(slots=True)
class Lane:
    """The share of one protocol: independent Poisson streams add up to one."""

    arrivals: Arrivals
    payloads: list[Payload]


class Run:
    """What the users of one run share.

    Args:
        target: Where requests go.
        load: How many and how fast.
        interface: How the model is called.
        dataset: What is sent, already in the model's datatype.
        endless: Whether to go on until ``end``; the whole run is then measured.
    """

    def __init__(self, target: Target, load: Load, interface: Interface, dataset: Dataset, *, endless: bool) -> None:
        self._target, self._load, self._interface = target, load, interface
        self._length_s = None if endless else load.warm_up_s + load.duration_s
        self.window_s = (0.0, float("inf")) if endless else (load.warm_up_s, load.warm_up_s + load.duration_s)
        self.record = Record(self.window_s)
        self.joined = 0
        self.alarms: set[Alarm] = set()
        self.started = Event()
        rate = load.rate_per_s / len(target.protocols)
        make = {"rest": rest_payloads, "grpc": grpc_payloads}
        self.lanes = {
            name: Lane(
                Arrivals(
                    offsets(load.arrivals, rate, load.seed + number, self._length_s), load.max_backlog, self.record.drop
                ),
                make[name](interface, dataset, load.batch_size),
            )
            for number, name in enumerate(target.protocols)
        }

    def connect(self, protocol: str) -> RestConnection | GrpcConnection:
        """Return a connection for one user."""
        if protocol == "rest":
            return RestConnection(self._target.rest, self._interface, self._load.timeout_s)
        return GrpcConnection(self._target.grpc, self._interface, self._load.timeout_s)

    def start(self) -> float:
        """Start the schedule and return its start on ``time.monotonic()``."""
        start_s = time.monotonic() + START_DELAY_S
        self.record.start(start_s)
        for lane in self.lanes.values():
            lane.arrivals.start(start_s)
        self.started.set()
        return start_s

    def end(self) -> None:
        """End the schedule now; users finish what has come due."""
        for lane in self.lanes.values():
            lane.arrivals.end(time.monotonic())
        self.started.set()
        for alarm in self.alarms:
            alarm.ring()

    def abandon(self) -> None:
        """Count what still waits for a connection as failed."""
        for lane in self.lanes.values():
            lane.arrivals.abandon()
