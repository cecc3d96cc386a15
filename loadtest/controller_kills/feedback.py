"""Outcomes of made-up answers, told to whoever leads until they are stored, and a book of what was told.

Two batches of a model wait at most: the newest, and after a call that failed the one before it, which was acknowledged
and is told again as by a client that has lost the answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

import grpc

from services.core.route import BUCKETS, Route, bucket_of
from services.pb.penstock.v1 import feedback_pb2, feedback_pb2_grpc

OUTCOME = "clicked"
_BATCH = 10
_TIMEOUT_S = 1.0
# Told again with the same ids. The last one comes when a channel is closed.
_AGAIN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


class Told(NamedTuple):
    """One outcome: the version that answered, what came of it, and when it was told first (seconds since the epoch)."""

    version: int
    value: float
    at: float


@dataclass(frozen=True, slots=True)
class Script:
    """What becomes of a model's answers during one A/B test.

    Attributes:
        test: Names the test; begins the ids of its requests.
        rates: Share of the good outcomes of each version's answers.
    """

    test: str
    rates: Mapping[int, float]


class OutcomeBook:
    """What was told of every test, and what was acknowledged. Safe to use from several threads.

    Attributes:
        faults: Answers that no outcome may get.
        repeated: Outcomes that were told again and were stored already.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.repeated = 0
        self._lock = threading.Lock()
        self._told: dict[str, dict[str, Told]] = {}
        self._stored: dict[str, set[str]] = {}

    def tell(self, test: str, outcomes: Mapping[str, Told]) -> None:
        """Note outcomes that are about to be told for the first time, by the id of their request."""
        with self._lock:
            self._told.setdefault(test, {}).update(outcomes)

    def acknowledge(self, test: str, request_ids: Sequence[str], taken: Sequence[str]) -> None:
        """Note what was answered about outcomes."""
        with self._lock:
            stored = self._stored.setdefault(test, set())
            if len(taken) != len(request_ids) or not {"stored", "repeated"}.issuperset(taken):
                self.faults.append(f"{test}: {len(request_ids)} outcomes were answered with {sorted(taken)}")
            if "stored" in taken and not stored.isdisjoint(request_ids):
                self.faults.append(f"{test}: outcomes were stored that had been acknowledged before: {request_ids}")
            self.repeated += sum(each == "repeated" for each in taken)
            stored.update(request_ids)

    def told(self, test: str) -> dict[str, Told]:
        """Return what was told of a test by now, by the id of the request."""
        with self._lock:
            return dict(self._told.get(test, {}))

    def acknowledged(self, test: str) -> frozenset[str]:
        """Return the requests of a test whose outcomes were acknowledged by now."""
        with self._lock:
            return frozenset(self._stored.get(test, ()))


class _Batch(NamedTuple):
    test: str
    outcomes: Mapping[str, Told]


class _Heard(Enum):
    STORED = auto()
    REFUSED = auto()  # the test is over
    NOTHING = auto()  # nobody knows whether it was stored


class Feeder:
    """Makes up outcomes and tells them. Used by one thread.

    Args:
        book: Where it notes what it does.
    """

    def __init__(self, book: OutcomeBook) -> None:
        self._book = book
        self._made = 0
        self._waiting: dict[str, list[_Batch]] = {}
        self._acknowledged: dict[str, _Batch] = {}

    def feed(self, routes: Sequence[Route], scripts: Mapping[str, Script], channel: grpc.Channel) -> None:
        """Tell outcomes of every model that has an A/B test, first those that were not acknowledged."""
        tests = {route.model: route for route in routes if route.experiment and route.model in scripts}
        # Of a test that is over nobody takes any more.
        self._waiting = {model: batches for model, batches in self._waiting.items() if model in tests}
        self._acknowledged = {model: batch for model, batch in self._acknowledged.items() if model in tests}
        for model, route in tests.items():
            waiting = self._waiting.setdefault(model, [])
            if not waiting:
                waiting.append(self._answered(route, scripts[model]))
            heard = self._tell(model, waiting[0], channel)
            if heard is _Heard.STORED:
                self._acknowledged[model] = waiting.pop(0)
            elif heard is _Heard.REFUSED:
                waiting.clear()
            elif model in self._acknowledged:
                waiting.insert(0, self._acknowledged.pop(model))

    def _answered(self, route: Route, script: Script) -> _Batch:
        outcomes, now = dict[str, Told](), time.time()
        for _ in range(_BATCH):
            self._made += 1
            request_id = f"{script.test}/{self._made}"
            version, _role = route.pick(bucket_of(route.model, request_id))
            good = bucket_of(OUTCOME, request_id) < script.rates[version] * BUCKETS
            outcomes[request_id] = Told(version, float(good), now)
        self._book.tell(script.test, outcomes)
        return _Batch(script.test, outcomes)

    def _tell(self, model: str, batch: _Batch, channel: grpc.Channel) -> _Heard:
        report = feedback_pb2.OutcomeReport(
            model=model,
            outcomes=[
                feedback_pb2.RequestOutcome(request_id=each, version=told.version, outcome=OUTCOME, value=told.value)
                for each, told in batch.outcomes.items()
            ],
        )
        try:
            receipt = feedback_pb2_grpc.FeedbackServiceStub(channel).ReportOutcomes(report, timeout=_TIMEOUT_S)
        except ValueError:  # the channel is closed
            return _Heard.NOTHING
        except grpc.RpcError as error:
            if error.code() in _AGAIN:
                return _Heard.NOTHING
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                self._book.faults.append(f"{batch.test}: outcomes were refused: {error.code()}: {error.details()}")
            return _Heard.REFUSED
        self._book.acknowledge(batch.test, list(batch.outcomes), receipt.taken)
        return _Heard.STORED
