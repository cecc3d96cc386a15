"""Outcomes of A/B tests while controllers are killed: how they are told, and what must hold of the stored ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from loadtest.controller_kills.feedback import Feeder, OutcomeBook, Script, Told
from loadtest.controller_kills.outcome_invariants import broken_outcomes, broken_verdicts
from loadtest.controller_kills.stored_outcomes import StoredOutcome, StoredOutcomes
from services.core.rollouts.audit import change_of
from services.core.rollouts.experiment import Experiment, OutcomeSpec
from services.core.rollouts.feedback import Feedback
from services.core.rollouts.history import beginning
from services.core.rollouts.rollout import new_rollout
from services.core.rollouts.rollout_spec import RolloutSpec, Step, Strategy
from services.core.route import Arm, Route
from services.pb.penstock.v1 import feedback_pb2, feedback_pb2_grpc
from tests.fakes.opened_store import OpenedStore, sqlite_url

ROUTE = Route("digits", 1, 2, 30, frozenset({1, 2, 3}), arms=(Arm(3, 20),), experiment=True)
SCRIPTS = {"digits": Script("test-1", {1: 0.0, 2: 1.0, 3: 0.5})}
Answer = Callable[[list[str], grpc.ServicerContext], Sequence[str]]


class Controller(feedback_pb2_grpc.FeedbackServiceServicer):  # type: ignore[misc] # generated code has no types
    """Takes outcomes over a real connection; what it does with them is set for each call.

    Attributes:
        calls: The ids of each call.
        answer: Answers a call, or ends it.
    """

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.answer: Answer = stored

    def ReportOutcomes(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the protocol's name
        self.calls.append([each.request_id for each in request.outcomes])
        return feedback_pb2.OutcomeReceipt(taken=self.answer(self.calls[-1], context))


def stored(ids: list[str], _context: grpc.ServicerContext) -> Sequence[str]:
    return ["stored"] * len(ids)


def repeated(ids: list[str], _context: grpc.ServicerContext) -> Sequence[str]:
    return ["repeated"] * len(ids)


def ending(code: grpc.StatusCode) -> Answer:
    def end(_ids: list[str], context: grpc.ServicerContext) -> Sequence[str]:
        context.abort(code, "said so")
        return ()

    return end


@contextmanager
def serving(controller: Controller) -> Iterator[grpc.Channel]:
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    feedback_pb2_grpc.add_FeedbackServiceServicer_to_server(controller, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        server.stop(0).wait()


class Feeding:
    """A feeder with its book and a controller."""

    def __init__(self, channel: grpc.Channel, controller: Controller) -> None:
        self.book, self.controller, self._channel = OutcomeBook(), controller, channel
        self._feeder = Feeder(self.book)

    def feed(self, answer: Answer, route: Route = ROUTE) -> list[list[str]]:
        """Have one round, and return the calls that it made."""
        self.controller.answer = answer
        before = len(self.controller.calls)
        self._feeder.feed([route], SCRIPTS, self._channel)
        return self.controller.calls[before:]


@pytest.fixture
def feeding() -> Iterator[Feeding]:
    with ExitStack() as held:
        controller = Controller()
        yield Feeding(held.enter_context(serving(controller)), controller)


def test_the_versions_that_answer_are_those_of_the_split(feeding: Feeding) -> None:
    for _ in range(200):
        feeding.feed(stored)
    told = list(feeding.book.told("test-1").values())
    share = {version: sum(each.version == version for each in told) / len(told) for version in (1, 2, 3)}
    assert share == pytest.approx({1: 0.5, 2: 0.3, 3: 0.2}, abs=0.05)
    assert {each.value for each in told if each.version == 1} == {0.0}
    assert {each.value for each in told if each.version == 2} == {1.0}


def test_what_was_not_acknowledged_is_told_again_with_the_same_ids_and_so_is_what_came_before_it(
    feeding: Feeding,
) -> None:
    (first,) = feeding.feed(stored)
    (lost,) = feeding.feed(ending(grpc.StatusCode.UNAVAILABLE))
    assert feeding.book.acknowledged("test-1") == set(first)
    assert feeding.feed(repeated) == [first]
    assert feeding.feed(repeated) == [lost]
    assert feeding.book.acknowledged("test-1") == {*first, *lost}
    assert feeding.book.repeated == len(first) + len(lost)
    (third,) = feeding.feed(stored)
    assert set(third).isdisjoint([*first, *lost])
    assert feeding.book.faults == []


def test_an_acknowledged_outcome_that_is_stored_once_more_is_a_fault(feeding: Feeding) -> None:
    feeding.feed(stored)
    feeding.feed(ending(grpc.StatusCode.DEADLINE_EXCEEDED))
    feeding.feed(stored)
    assert "acknowledged before" in feeding.book.faults[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ending(grpc.StatusCode.INVALID_ARGUMENT), "outcomes were refused"),
        (lambda ids, _context: ["conflicting"] * len(ids), "were answered with"),
        (lambda _ids, _context: ["stored"], "were answered with"),
    ],
    ids=["refused", "conflicting", "too few"],
)
def test_an_answer_that_no_outcome_may_get_is_a_fault(feeding: Feeding, answer: Answer, words: str) -> None:
    feeding.feed(answer)
    assert words in feeding.book.faults[0]


def test_outcomes_of_a_test_that_is_over_are_told_no_more(feeding: Feeding) -> None:
    (refused,) = feeding.feed(ending(grpc.StatusCode.FAILED_PRECONDITION))
    (waiting,) = feeding.feed(ending(grpc.StatusCode.UNAVAILABLE))
    assert waiting != refused
    assert feeding.feed(stored, Route("digits", 1)) == []
    assert feeding.feed(stored) not in ([waiting], [refused])
    assert feeding.book.faults == []


TOLD = {"a": Told(1, 0.0, 10.0), "b": Told(2, 1.0, 11.0), "c": Told(2, 0.0, 12.0)}
STORED = [StoredOutcome("a", 1, 0.0, 1, 0.0), StoredOutcome("b", 2, 1.0, 2, 1.0), StoredOutcome("c", 2, 0.0, 2, 1.0)]


def test_outcomes_that_are_stored_as_they_were_told_are_right() -> None:
    assert broken_outcomes("digits-1", STORED, TOLD, {"a", "b"}) == []


@pytest.mark.parametrize(
    ("stored_now", "words"),
    [
        (STORED[:1], "acknowledged outcomes are not stored"),
        ([*STORED, STORED[0]], "4 outcomes are stored of 3 requests"),
        ([*STORED, StoredOutcome("x", 3, 1.0, 1, 1.0)], "nobody told so"),
        ([STORED[0]._replace(version=3), *STORED[1:]], "nobody told so"),
        ([STORED[0]._replace(counted=2), *STORED[1:]], "version 1 has (1, 0.0)"),
        ([STORED[0]._replace(counted=None, total=None), *STORED[1:]], "version 1 has (1, 0.0)"),
        ([STORED[0], *(row._replace(total=2.0) for row in STORED[1:])], "version 2 has (2, 1.0)"),
    ],
    ids=["lost", "twice", "made up", "another version", "counted twice", "not counted", "another sum"],
)
def test_outcomes_that_are_lost_made_up_or_counted_otherwise_are_found(
    stored_now: list[StoredOutcome], words: str
) -> None:
    assert any(words in line for line in broken_outcomes("digits-1", stored_now, TOLD, {"a", "b"}))


def line_of(counts: dict[str, int], numbers: dict[str, int], at: float = 11.5, arm: int = 2) -> dict[str, Any]:
    return {
        "at": at,
        "target": "promoting",
        "judged": {
            "outcomes": {version: {"count": count} for version, count in counts.items()},
            "verdict": {"checks": [{"name": "errors", "numbers": {}}, {"name": f"lift:{arm}", "numbers": numbers}]},
        },
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (line_of({"1": 1, "2": 1}, {"outcomes": 1, "winner": 1}), None),
        (line_of({"1": 1, "2": 2}, {"outcomes": 2, "winner": 1}), "counts 2 outcomes of version 2, and 1 were told"),
        (line_of({"1": 1, "2": 2}, {"outcomes": 2, "winner": 1}, at=12.5), None),
        (line_of({"1": 1, "2": 1}, {"outcomes": 2, "winner": 1}), "speaks of 2 outcomes"),
        (line_of({"1": 1}, {"outcomes": 0, "winner": 1}, arm=3), "names version 3 as the winner"),
    ],
    ids=["right", "early", "later", "other numbers", "other winner"],
)
def test_a_verdict_counts_only_what_was_told_by_then(line: dict[str, Any], words: str | None) -> None:
    start = {"at": 1.0, "target": "preparing", "judged": None}
    found = broken_verdicts("digits-1", [start, line], STORED, TOLD, winner=2)
    assert found == [] if words is None else any(words in each for each in found)


@pytest.mark.anyio
async def test_stored_outcomes_are_read_from_the_controllers_database(tmp_path: Path) -> None:
    experiment = Experiment(OutcomeSpec("clicked"))
    spec = RolloutSpec("digits", 2, Strategy.AB, (Step(50),), max_step_duration_s=3600.0, experiment=experiment)
    store = OpenedStore(sqlite_url(tmp_path))
    try:
        asked = new_rollout(spec, 1, 1.0)
        entry = beginning(asked, "ada")
        rollout = await store.create(asked, entry, change_of(None, asked, entry, "me"))
        fed = [Feedback(str(number), 1 + number % 2, "clicked", float(number > 1)) for number in range(5)]
        await store.add_outcomes(rollout.id, [(one, one.value) for one in fed])
        with closing(StoredOutcomes(sqlite_url(tmp_path))) as read:
            found = read.of(rollout.id)
            assert read.of("digits-2") == []
    finally:
        await store.close()
    told = {one.request_id: Told(one.version, one.value, 1.0) for one in fed}
    assert broken_outcomes(rollout.id, found, told, told.keys()) == []
    assert {row.version: (row.counted, row.total) for row in found} == {1: (3, 2.0), 2: (2, 1.0)}
