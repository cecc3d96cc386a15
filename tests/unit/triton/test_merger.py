"""The ``Merger`` before exchanges that a test answers, breaks or leaves alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import uvloop

from services.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    PenstockError,
    Unavailable,
    Unimplemented,
    UpstreamFailure,
)
from services.core.inference import InferRequest, InferResponse, Merging, RequestedOutput
from services.core.tensor import Tensor
from services.triton.faults import AllBusy, Broken, GivenUp, ModelProcessDied, NoAnswer, Nonsense, NotLoaded, NotSent
from services.triton.merging.merger import Merger
from services.triton.merging.settings import MergeSettings
from tests.fakes import aio
from tests.fakes.scripted_send import ScriptedSend, Sent
from tests.fakes.skipping_loop import SkippingLoop, skip

Run = Callable[[Coroutine[Any, Any, None]], None]
Answer = asyncio.Task[InferResponse]

BATCHES = Merging(64)
APART_S = 5.0
ABOUT_ONE = [InvalidRequest, UpstreamFailure, Unimplemented, Nonsense]
ABOUT_ALL = [
    AllBusy,
    Broken,
    DeadlineExceeded,
    GivenUp,
    ModelProcessDied,
    NoAnswer,
    NotLoaded,
    NotSent,
    Overloaded,
    Unavailable,
]


@pytest.fixture(params=[SkippingLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a scenario on either event loop, and looks for what it left behind."""
    return partial(aio.run_quietly, loop=request.param)


def request(rows: bytes, **more: Any) -> InferRequest:
    return InferRequest("m", inputs=[Tensor("X", "INT8", (len(rows), 1), rows)], **more)


class Gathered:
    """A merger, and those who ask it."""

    def __init__(
        self, settings: MergeSettings | None = None, merging: Merging = BATCHES, *, answers: bool = False
    ) -> None:
        self.send = ScriptedSend(answers)
        self.merger = Merger(self.send, settings or MergeSettings())
        self.merging = merging

    def ask(
        self,
        asked: bytes | InferRequest,
        timeout_s: float = 30.0,
        left_s: float = 60.0,
        *,
        busy: bool = True,
        group: object = None,
    ) -> Answer:
        asked = request(asked) if isinstance(asked, bytes) else asked
        attempt = self.merger.attempt(asked, timeout_s, left_s, self.merging, busy=busy, group=group)
        return asyncio.get_running_loop().create_task(attempt)

    async def sent(self, count: int) -> None:
        """Wait until so many exchanges began, and make sure that there are no more."""
        await aio.until(lambda: len(self.send.sent) >= count)
        await aio.turns(8)
        assert len(self.send.sent) == count, self.send.rows

    async def together(self, *asked: bytes, **more: Any) -> list[Answer]:
        """Ask at once, and wait until it is on its way as one."""
        before = len(self.send.sent)
        tasks = [self.ask(rows, **more) for rows in asked]
        await self.sent(before + 1)
        assert self.send.rows[-1] == b"".join(asked)
        return tasks


async def rows_of(tasks: Iterable[Answer]) -> list[bytes]:
    return [bytes((await task).outputs[0].data) for task in tasks]


async def errors_of(tasks: Iterable[Answer]) -> list[BaseException | InferResponse]:
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_a_request_that_is_alone_is_sent_at_once_and_as_it_is(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        mine = request(b"a", id="mine")
        task = them.ask(mine, 3.0, 4.0, busy=False, group="g")
        await aio.turns(1)
        (sent,) = them.send.sent
        assert sent.request is mine
        assert (sent.timeout_s, sent.left_s, sent.group) == (3.0, 4.0, "g")
        sent.answer()
        assert await rows_of([task]) == [b"a"]

    run(scenario())


def test_requests_that_are_ready_together_are_one_and_each_gets_its_own_rows(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = await them.together(b"a", b"bcd", b"ef", b"g")
        them.send.sent[0].answer()
        assert await rows_of(tasks) == [b"a", b"bcd", b"ef", b"g"]
        assert [task.result().rode_along for task in tasks] == [False, True, True, True]
        assert {task.result().exchange_s for task in tasks} == {0.5}
        assert len(them.send.sent) == 1

    run(scenario())


def test_who_comes_a_turn_later_rides_along(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered(MergeSettings(turns=4))
        first = them.ask(b"a")
        await aio.turns(2)
        second = them.ask(b"b")
        await them.sent(1)
        assert them.send.rows == [b"ab"]
        them.send.sent[0].answer()
        assert await rows_of([first, second]) == [b"a", b"b"]

    run(scenario())


def test_one_that_found_nobody_is_sent_as_it_is(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        mine = request(b"a", id="mine")
        task = them.ask(mine, 3.0, 4.0)
        await them.sent(1)
        (sent,) = them.send.sent
        assert sent.request is mine
        assert 0 < sent.timeout_s <= 3.0
        assert 1 < sent.left_s <= 4.0
        sent.answer()
        assert not (await task).rode_along

    run(scenario())


def test_after_a_merged_one_an_idle_moment_is_no_reason_to_go_apart(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        first = await them.together(b"a", b"b")
        them.send.sent[0].answer()
        await rows_of(first)
        second = await them.together(b"c", b"d", busy=False)
        them.send.sent[1].answer()
        assert await rows_of(second) == [b"c", b"d"]
        alone = [them.ask(b"e", busy=False)]
        await them.sent(3)
        alone.append(them.ask(b"f", busy=False))
        await aio.turns(1)
        assert them.send.rows[2:] == [b"e", b"f"], "one that found nobody ends it"
        for sent in them.send.sent[2:]:
            sent.answer()
        assert await rows_of(alone) == [b"e", b"f"]

    run(scenario())


def test_every_instance_of_the_model_gets_a_part(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered(merging=Merging(64, (), 3), answers=True)
        tasks = [them.ask(bytes([number])) for number in range(9)]
        assert await rows_of(tasks) == [bytes([number]) for number in range(9)]
        assert [len(rows) for rows in them.send.rows] == [3, 3, 3]

    run(scenario())


def test_only_sizes_that_the_model_prefers_are_made(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered(merging=Merging(8, (4,)), answers=True)
        tasks = [them.ask(bytes([number])) for number in range(9)]
        assert await rows_of(tasks) == [bytes([number]) for number in range(9)]
        assert sorted(len(rows) for rows in them.send.rows) == [1, 4, 4]

    run(scenario())


@pytest.mark.parametrize(
    "other",
    [
        request(b"b", parameters={"priority": 1}),
        request(b"b", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"),
        request(b"b", sequence="1"),
        request(b"b", outputs=[RequestedOutput("Y")]),
        request(b"b", outputs=[RequestedOutput("Y", 2)]),
        InferRequest("m", inputs=[Tensor("X", "UINT8", (1, 1), b"b")]),
        InferRequest("m", inputs=[Tensor("X", "INT8", (1, 2), b"bb")]),
        InferRequest("m", inputs=[Tensor("Z", "INT8", (1, 1), b"b")]),
        request(b"b" * 9),
    ],
    ids=["parameter", "trace", "sequence", "outputs", "classes", "datatype", "shape", "name", "large"],
)
def test_what_differs_is_never_merged(run: Run, other: InferRequest) -> None:
    async def scenario() -> None:
        them = Gathered(MergeSettings(max_request_bytes=8), answers=True)
        tasks = [them.ask(b"a"), them.ask(other), them.ask(b"c"), them.ask(other)]
        answers = await rows_of(tasks)
        assert answers == [b"a", bytes(other.inputs[0].data), b"c", bytes(other.inputs[0].data)]
        merged = [sent for sent in them.send.sent if sent.rows == b"ac"]
        assert len(merged) == 1
        for sent in them.send.sent:
            if sent is not merged[0]:
                assert set(sent.rows) == set(b"b")
                assert sent.request.parameters == other.parameters
                assert sent.request.traceparent == other.traceparent

    run(scenario())


def test_requests_of_different_groups_are_never_merged(run: Run) -> None:
    async def scenario() -> None:
        one, two = object(), object()
        them = Gathered(answers=True)
        groups = [one, two, None, one, two, None]
        tasks = [them.ask(bytes([number]), group=group) for number, group in enumerate(groups)]
        assert await rows_of(tasks) == [bytes([number]) for number in range(6)]
        assert {sent.rows: sent.group for sent in them.send.sent} == {b"\0\3": one, b"\1\4": two, b"\2\5": None}

    run(scenario())


def test_one_that_goes_before_it_was_sent_is_not_sent(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = [them.ask(rows) for rows in (b"a", b"b", b"c")]
        await aio.turns(1)
        tasks[1].cancel()
        await them.sent(1)
        assert them.send.rows == [b"ac"]
        them.send.sent[0].answer()
        assert await rows_of([tasks[0], tasks[2]]) == [b"a", b"c"]
        assert tasks[1].cancelled()

    run(scenario())


def test_nothing_is_sent_when_everybody_has_gone(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = [them.ask(rows) for rows in (b"a", b"b")]
        await aio.turns(1)
        for task in tasks:
            task.cancel()
        await errors_of(tasks)
        await aio.turns(8)
        assert not them.send.sent

    run(scenario())


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_one_that_goes_takes_nobody_along(run: Run, gone: int) -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = await them.together(b"a", b"b", b"c")
        tasks[gone].cancel()
        await aio.turns(4)
        assert not them.send.sent[0].cancelled
        them.send.sent[0].answer()
        stayed = [task for task in tasks if task is not tasks[gone]]
        assert await rows_of(stayed) == [rows for rows in (b"a", b"b", b"c") if rows != b"abc"[gone : gone + 1]]
        assert len(them.send.sent) == 1

    run(scenario())


def test_the_last_one_that_goes_ends_the_exchange(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = await them.together(b"a", b"b", b"c")
        for task in tasks:
            task.cancel()
        await aio.until(lambda: them.send.sent[0].cancelled)
        assert all(isinstance(error, asyncio.CancelledError) for error in await errors_of(tasks))
        assert len(them.send.sent) == 1

    run(scenario())


def test_those_that_go_as_their_exchange_begins_leave_nothing_behind(run: Run) -> None:
    async def scenario() -> None:
        for turns in range(6):
            them = Gathered()
            tasks = [them.ask(rows) for rows in (b"a", b"b")]
            await aio.turns(turns)
            for task in tasks:
                task.cancel()
            await errors_of(tasks)
            await aio.turns(4)
            assert all(sent.cancelled for sent in them.send.sent)

    run(scenario())


def test_everybody_has_their_own_deadline_and_the_exchange_the_last_one(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = [them.ask(b"a", 0.1, 0.3), them.ask(b"b", 40.0, 50.0), them.ask(b"c", 0.4, 70.0)]
        await them.sent(1)
        (sent,) = them.send.sent
        assert sent.rows == b"abc"
        assert 30.0 < sent.timeout_s <= 40.0
        assert 60.0 < sent.left_s <= 70.0
        with pytest.raises(NoAnswer, match=r"within 0\.100 s"):
            await tasks[0]
        with pytest.raises(NoAnswer, match=r"within 0\.400 s"):
            await tasks[2]
        assert not sent.cancelled
        sent.answer()
        assert await rows_of([tasks[1]]) == [b"b"]

    run(scenario())


def test_deadlines_that_are_over_while_nobody_looked_are_kept_all_the_same() -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = [them.ask(bytes([number]), 1.0 + number) for number in range(5)]
        tasks.append(them.ask(b"z", 100.0))
        await them.sent(1)
        skip(50.0)
        assert [type(error) for error in await errors_of(tasks[:5])] == [NoAnswer] * 5
        them.send.sent[0].answer()
        assert await rows_of(tasks[5:]) == [b"z"]

    aio.run_quietly(scenario(), 1000.0, SkippingLoop)


@pytest.mark.parametrize("kind", ABOUT_ONE)
def test_what_may_be_about_one_is_found_out_one_by_one_and_once(run: Run, kind: type[PenstockError]) -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = await them.together(b"a", b"b", b"c")
        them.send.sent[0].fail(kind("no"))
        await them.sent(4)
        assert sorted(them.send.rows[1:]) == [b"a", b"b", b"c"]
        for sent in them.send.sent[1:]:
            assert 0 < sent.timeout_s <= 30.0
            assert 30 < sent.left_s <= 60.0
            if sent.rows == b"b":
                sent.fail(kind("it is b"))
            else:
                sent.answer()
        answers = await errors_of(tasks)
        assert isinstance(answers[1], kind)
        assert answers[1].message == "it is b"
        assert await rows_of([tasks[0], tasks[2]]) == [b"a", b"c"]
        assert not tasks[2].result().rode_along, "it had an exchange of its own"
        await aio.turns(8)
        assert len(them.send.sent) == 4

    run(scenario())


@pytest.mark.parametrize("rows", [1, 2, 4, 6])
def test_an_answer_with_other_rows_than_were_asked_is_nobodys(run: Run, rows: int) -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = await them.together(b"a", b"b", b"c")
        them.send.sent[0].answer_with(Tensor("X", "INT8", (rows, 1), b"." * rows))
        await them.sent(4)
        for sent in them.send.sent[1:]:
            sent.answer()
        assert await rows_of(tasks) == [b"a", b"b", b"c"]

    run(scenario())


def test_after_a_no_nothing_is_merged_for_a_while_and_then_again() -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = await them.together(b"a", b"b")
        them.send.sent[0].fail(UpstreamFailure("no"))
        await them.sent(3)
        tasks += [them.ask(rows) for rows in (b"c", b"d")]
        await them.sent(5)
        skip(APART_S - 0.5)
        tasks += [them.ask(rows) for rows in (b"e", b"f")]
        await them.sent(7)
        for sent in them.send.sent[1:]:
            sent.answer()
        assert await rows_of(tasks) == [b"a", b"b", b"c", b"d", b"e", b"f"]
        skip(0.5)
        again = await them.together(b"g", b"h")
        them.send.sent[-1].answer()
        assert await rows_of(again) == [b"g", b"h"]

    aio.run_quietly(scenario(), 1000.0, SkippingLoop)


def test_one_whose_time_is_over_is_not_sent_by_itself() -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = [them.ask(b"a", 10.0), them.ask(b"b", 10.0)]
        await them.sent(1)
        skip(10.0)
        them.send.sent[0].fail(UpstreamFailure("no"))
        assert [type(error) for error in await errors_of(tasks)] == [NoAnswer, NoAnswer]
        assert len(them.send.sent) == 1

    aio.run_quietly(scenario(), 1000.0, SkippingLoop)


@pytest.mark.parametrize("kind", ABOUT_ALL)
def test_what_is_about_the_replica_reaches_everybody_and_nothing_is_sent_again(
    run: Run, kind: type[PenstockError]
) -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = await them.together(b"a", b"b", b"c")
        error = kind("lost")
        them.send.sent[0].fail(error)
        assert await errors_of(tasks) == [error] * 3
        await aio.turns(8)
        assert len(them.send.sent) == 1
        again = await them.together(b"d", b"e")
        them.send.sent[1].answer()
        assert await rows_of(again) == [b"d", b"e"], "it is no reason to go apart"

    run(scenario())


def test_a_defect_reaches_everybody_rather_than_leaving_them_waiting(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = await them.together(b"a", b"b", b"c")
        tasks[1].cancel()
        defect = RuntimeError("a defect")
        them.send.sent[0].fail(defect)
        answers = await errors_of(tasks)
        assert (answers[0], answers[2]) == (defect, defect)
        strange = await them.together(b"d", b"e")
        them.send.sent[1].answer_with(Tensor("X", "NO_SUCH", (2, 1), b"de"))
        assert [type(error) for error in await errors_of(strange)] == [KeyError, KeyError]

    run(scenario())


def test_giving_up_ends_what_is_gathered_and_what_is_sent_of_that_group_and_no_other(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        mine, other = object(), object()
        sent = await them.together(b"a", b"b", group=mine)
        kept = await them.together(b"c", b"d", group=other)
        kept += await them.together(b"e", b"f", group=None)
        gathered = [them.ask(rows, group=mine) for rows in (b"g", b"h")]
        waiting = [them.ask(rows, group=other) for rows in (b"i", b"j")]
        await aio.turns(1)
        assert len(them.send.sent) == 3
        error = GivenUp("it hangs")
        them.merger.give_up(mine, error)
        assert await errors_of(sent + gathered) == [error] * 4
        await them.sent(4)
        assert them.send.rows == [b"ab", b"cd", b"ef", b"ij"]
        assert [sent.cancelled for sent in them.send.sent] == [True, False, False, False]
        for exchange in them.send.sent[1:]:
            exchange.answer()
        assert await rows_of(kept + waiting) == [b"c", b"d", b"e", b"f", b"i", b"j"]

    run(scenario())


def test_a_group_that_was_given_up_may_be_asked_again_at_once(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        gone = [them.ask(b"a"), them.ask(b"b")]
        await aio.turns(1)
        them.merger.give_up(None, GivenUp("it hangs"))
        later = [them.ask(b"c"), them.ask(b"d")]
        assert [type(error) for error in await errors_of(gone)] == [GivenUp, GivenUp]
        await aio.until(lambda: b"".join(sorted(them.send.rows)) == b"cd")
        for sent in them.send.sent:
            sent.answer()
        assert await rows_of(later) == [b"c", b"d"]

    run(scenario())


def test_giving_up_before_an_exchange_has_begun_ends_it(run: Run) -> None:
    async def scenario() -> None:
        for turns in range(6):
            them = Gathered()
            tasks = [them.ask(b"a"), them.ask(b"b")]
            await aio.turns(turns)
            error = GivenUp("it hangs")
            them.merger.give_up(None, error)
            await aio.turns(8)
            if turns:
                assert await errors_of(tasks) == [error, error]
                assert all(sent.cancelled for sent in them.send.sent)
            else:
                them.send.sent[0].answer()
                assert await rows_of(tasks) == [b"a", b"b"], "they had not even asked"

    run(scenario())


def test_closing_leaves_no_task_and_nobody_waiting(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = await them.together(b"a", b"b")
        tasks += await them.together(b"c", b"d", group="g")
        tasks += [them.ask(rows) for rows in (b"e", b"f")]
        await aio.turns(1)
        tasks[0].cancel()
        await them.merger.aclose()
        answers = await errors_of(tasks)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert [type(error) for error in answers[1:]] == [Unavailable] * 5
        assert them.send.rows == [b"ab", b"cd"]
        assert all(sent.cancelled for sent in them.send.sent)

    run(scenario())


def test_closing_twice_or_unused_is_no_fault(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        await them.merger.aclose()
        await them.merger.aclose()

    run(scenario())


@pytest.mark.parametrize("kind", [UpstreamFailure, Broken, RuntimeError])
def test_going_at_the_moment_of_an_answer_or_an_error_makes_no_noise(run: Run, kind: type[Exception]) -> None:
    async def scenario() -> None:
        for turns in range(5):
            for error in (None, kind("no")):
                them = Gathered()
                tasks = await them.together(b"a", b"b", b"c")
                them.send.answers = True
                sent = them.send.sent[0]
                if error is None:
                    sent.answer()
                else:
                    sent.fail(error)
                await aio.turns(turns)
                for task in tasks[:2]:
                    task.cancel()
                answers = await errors_of(tasks)
                assert not isinstance(answers[2], asyncio.CancelledError)
                del answers, tasks

    run(scenario())


def test_all_going_at_the_moment_of_an_error_makes_no_noise(run: Run) -> None:
    async def scenario() -> None:
        for turns in range(5):
            them = Gathered()
            tasks = await them.together(b"a", b"b")
            them.send.sent[0].fail(RuntimeError("a defect"))
            await aio.turns(turns)
            for task in tasks:
                task.cancel()
            await errors_of(tasks)

    run(scenario())


class Storm:
    """All of it at once, by chance: sizes, groups, leaving, failing, giving up."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.them = Gathered(MergeSettings(max_requests=5, turns=1 + seed % 3), Merging(9, (), 1 + seed % 2))
        self.answered = 0

    async def client(self, number: int) -> None:
        """Ask once, and perhaps go."""
        chance = self._chance
        rows = bytes([number] * chance.randint(1, 4))
        asked = replace(request(rows), outputs=[RequestedOutput("Y")] * chance.randint(0, 1))
        task = self.them.ask(asked, 60.0, 120.0, busy=chance.random() < 0.9, group=chance.choice("gh"))
        await aio.turns(chance.randint(0, 12))
        goes = chance.random() < 0.2 and task.cancel()
        (ended,) = await errors_of([task])
        if isinstance(ended, InferResponse):
            self.answered += 1
            assert bytes(ended.outputs[0].data) == rows
            assert ended.outputs[0].shape == (len(rows), 1)
        elif goes:
            assert isinstance(ended, asyncio.CancelledError)
        else:
            assert str(ended) in ("end", "given up", "the request was given up")

    async def triton(self) -> None:
        """Answer and fail, until it is cancelled."""
        chance, ended = self._chance, 0
        while True:
            await aio.turns(chance.randint(1, 5))
            now = self.them.send.sent[ended : ended + chance.randint(0, 4)]
            ended += len(now)
            for sent in now:
                if not sent.over:
                    self._end(sent)
            if chance.random() < 0.05:
                self.them.merger.give_up(chance.choice("gh"), GivenUp("given up"))

    def _end(self, sent: Sent) -> None:
        if self._chance.random() < 0.3:
            sent.fail(self._chance.choice([*ABOUT_ONE, *ABOUT_ALL, RuntimeError])("end"))
        else:
            sent.answer()


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_everybody_gets_their_own_rows_or_an_error_of_the_exchange(run: Run, seed: int) -> None:
    async def scenario() -> None:
        storm = Storm(seed)
        serving = asyncio.create_task(storm.triton())
        for begin in range(0, 250, 25):
            await asyncio.gather(*[storm.client(number) for number in range(begin, begin + 25)])
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert storm.answered
        await storm.them.merger.aclose()

    run(scenario())


def test_an_exchange_that_nobody_waits_for_any_more_is_ended(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        hurried = them.ask(b"a", 0.1)
        patient = them.ask(b"b", 60.0)
        await them.sent(1)
        with pytest.raises(NoAnswer):
            await hurried
        patient.cancel()
        await errors_of([patient])
        await aio.turns(8)
        assert them.send.sent[0].cancelled
        assert them.send.rows == [b"ab"]

    run(scenario())


def test_one_of_those_that_are_still_there_counts_as_the_exchange(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = await them.together(b"a", b"b", b"c")
        tasks[0].cancel()
        await aio.turns(2)
        them.send.sent[0].answer()
        await rows_of(tasks[1:])
        assert [task.result().rode_along for task in tasks[1:]] == [False, True]

    run(scenario())


def test_nobody_is_told_before_their_time_is_over() -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = [them.ask(b"a", 0.1), them.ask(b"b", 0.12), them.ask(b"c", 60.0)]
        await them.sent(1)
        skip(0.1)
        await aio.until(tasks[0].done)
        assert not tasks[1].done()
        skip(0.02)
        await aio.until(tasks[1].done)
        assert not tasks[2].done()
        them.send.sent[0].answer()
        assert await rows_of(tasks[2:]) == [b"c"]
        await errors_of(tasks)

    aio.run_quietly(scenario(), 1000.0, SkippingLoop)


def test_a_short_deadline_is_kept_beside_one_that_is_little_longer() -> None:
    async def scenario() -> None:
        them = Gathered()
        tasks = [them.ask(b"a", 0.01), them.ask(b"b", 0.055)]
        await them.sent(1)
        skip(0.01)
        await aio.until(tasks[0].done)
        them.send.sent[0].answer()
        assert await rows_of(tasks[1:]) == [b"b"]
        await errors_of(tasks)

    aio.run_quietly(scenario(), 1000.0, SkippingLoop)


def test_an_exchange_says_how_many_requests_it_is(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered(answers=True)
        await rows_of([them.ask(b"a", busy=False)])
        await rows_of([them.ask(b"a"), them.ask(b"b")])
        assert [sent.members for sent in them.send.sent] == [1, 2]

    run(scenario())


def test_where_a_no_is_rare_merging_goes_on(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        for _ in range(21):
            tasks = await them.together(b"a", b"b")
            them.send.sent[-1].answer()
            await rows_of(tasks)
        tasks = await them.together(b"a", b"b")
        them.send.sent[-1].fail(UpstreamFailure("no"))
        await them.sent(24)
        for sent in them.send.sent[-2:]:
            sent.answer()
        await rows_of(tasks)
        tasks = await them.together(b"a", b"b")
        them.send.sent[-1].answer()
        await rows_of(tasks)

    run(scenario())


def test_answers_are_bounded_as_requests_are(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered(MergeSettings(max_bytes=1000))
        tasks = await them.together(b"a", b"b", b"c", b"d")
        them.send.sent[-1].answer_with(Tensor("X", "INT8", (4, 300), bytes(1200)))
        await rows_of(tasks)
        tasks = [them.ask(rows) for rows in (b"a", b"b", b"c", b"d")]
        await them.sent(3)
        assert them.send.rows[1:] == [b"abc", b"d"]
        for sent in them.send.sent[1:]:
            sent.answer()
        assert await rows_of(tasks) == [b"a", b"b", b"c", b"d"]

    run(scenario())


def test_copies_are_merged_with_copies_and_never_with_what_clients_wait_for(run: Run) -> None:
    async def scenario() -> None:
        them = Gathered()
        asked = [request(b"a"), request(b"b", is_copy=True), request(b"c"), request(b"d", is_copy=True)]
        tasks = [them.ask(one) for one in asked]
        await them.sent(2)
        assert sorted(them.send.rows) == [b"ac", b"bd"]
        for sent in them.send.sent:
            assert sent.request.is_copy is (sent.rows == b"bd")
            sent.answer()
        assert await rows_of(tasks) == [b"a", b"b", b"c", b"d"]

    run(scenario())


def test_copies_that_nobody_waits_for_any_more_are_not_counted_among_the_requests_that_linger(run: Run) -> None:
    async def scenario() -> None:
        lingering: list[int] = []
        them = Gathered()
        them.merger = Merger(them.send, MergeSettings(), lingering.append)
        tasks = [them.ask(request(rows, is_copy=True)) for rows in (b"a", b"b")]
        await them.sent(1)
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        them.send.sent[0].answer()
        assert await rows_of(tasks[1:]) == [b"b"]
        assert lingering == []

    run(scenario())
