"""Live requests are copied, compared and counted, and never notice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.core.counts.comparison import Comparison
from services.core.errors import DeadlineExceeded, InvalidRequest, Overloaded, Unavailable
from services.core.inference import InferRequest, RequestedOutput, TensorSpec
from services.core.mirror import Mirror
from services.core.route import RouteTable
from services.core.tensor import Tensor
from services.gateway.admission import Admission, AdmissionSettings
from services.gateway.mirroring.settings import MirrorSettings
from tests.fakes.gateway import FORMS, Answer, Client, Question, Running, client, eventually, image, in_loop, serving
from tests.fakes.upstream import FakeUpstream, schema, scores, standard_table

every_form = pytest.mark.parametrize("form", FORMS)
BOTH = Mirror(2, 100, scores=True)
QUICK = MirrorSettings(timeout_s=0.1, longest_wait_s=0.2, drain_s=0.1)


def mirrored(mirror: Mirror | None = BOTH, generation: int = 2, **changes: Any) -> RouteTable:
    """Return the standard table, with version 3 of ``digits`` too, mirrored."""
    table = standard_table(generation)
    route = replace(table.routes["digits"], versions=frozenset({1, 2, 3}), mirror=mirror, **changes)
    return RouteTable(generation, {**table.routes, "digits": route})


def same(request: InferRequest, _version: int) -> list[Tensor]:
    """Answer alike in every version."""
    return scores(request, 1)


def alike() -> FakeUpstream:
    """Return an upstream whose versions of ``digits`` do not differ."""
    upstream = FakeUpstream()
    upstream.models["digits"].answer = same
    return upstream


async def ended(
    running: Running, condition: Callable[[Comparison], object], answered: int = 1, to: int = 2
) -> Comparison:
    """Wait until a comparison is so far."""
    await eventually(lambda: condition(running.comparison(answered, to)))
    return running.comparison(answered, to)


async def ask(asker: Client, times: int = 1, **about: object) -> list[Answer]:
    """Ask ``digits`` one time after the other."""
    return [await asker.ask(Question(inputs=[image([1, 2, 3])], **about)) for _ in range(times)]  # type: ignore[arg-type]


@every_form
@in_loop
async def test_an_answered_request_is_copied_once_and_both_answers_are_compared(form: str) -> None:
    async with serving() as running, client(running, form) as asker:
        running.routes.replace(mirrored())
        (answer,) = await ask(asker, parameters={"timeout": 5_000_000, "priority": 1, "mine": 7})
        assert (answer.version, answer.metadata["penstock-role"]) == ("1", "stable")
        found = await ended(running, lambda c: c.pairs)
        assert (found.all.differing, found.all.ranked, found.all.agree, found.failed) == (1, 1, 1, 0)
        output = found.outputs["scores"]
        assert output.absolute.quantile(1.0) == pytest.approx(3.0, rel=0.2)
        assert (found.original.total, found.copy.total) == (1, 1)
        (original, _), (copy, version) = running.upstream.requests
        assert version == 2
        assert (copy.is_copy, copy.id, copy.traceparent, copy.parameters) == (True, "", "", {"mine": 7})
        assert copy.inputs[0].data is original.inputs[0].data


@every_form
@in_loop
async def test_copies_are_no_requests_of_clients(form: str) -> None:
    async with serving() as running, client(running, form) as asker:
        running.routes.replace(mirrored())
        await ask(asker, 5)
        await ended(running, lambda c: c.pairs == 5)
        assert running.count("request") == 5
        assert running.count("request", version="2") == 0
        assert running.count("predictions", version="2") == 0
        assert running.count("mirror", model="digits", version="1", mirrored="2", outcome="different") == 5
        assert running.slab.in_flight == 0
        assert running.count("mirror_held") == 0


@in_loop
async def test_without_a_mirror_nothing_is_copied() -> None:
    async with serving() as running, client(running, "rest-binary") as asker:
        await ask(asker, 3)
        running.routes.replace(mirrored(Mirror(2, 0, scores=True)))
        await ask(asker, 3)
        assert len(running.upstream.requests) == 6
        assert running.comparison() == Comparison()


@in_loop
async def test_a_client_that_names_a_version_is_not_copied_nor_is_what_the_mirror_itself_answered() -> None:
    async with serving() as running, client(running, "rest-binary") as asker:
        running.routes.replace(mirrored(candidate=2, weight_percent=100))
        await ask(asker, 3, version="1")
        await ask(asker, 3)
        assert {version for _, version in running.upstream.requests} == {1, 2}
        assert len(running.upstream.requests) == 6
        assert running.comparison(1, 2) == running.comparison(2, 2) == Comparison()


@in_loop
async def test_after_a_switch_the_old_version_gets_the_copies() -> None:
    async with serving() as running, client(running, "rest-binary") as asker:
        running.routes.replace(mirrored(Mirror(1, 100, scores=True), stable=2))
        await ask(asker, 3)
        await ended(running, lambda c: c.pairs == 3, 2, 1)


@in_loop
async def test_the_share_is_what_the_mirror_says_and_part_of_it_is_the_noise_floor() -> None:
    async with serving() as running, client(running, "rest-binary") as asker:
        running.routes.replace(mirrored(Mirror(2, 50, 20, scores=True)))
        await ask(asker, 200)
        await eventually(lambda: running.comparison(1, 2).pairs + running.comparison(1, 1).pairs >= 98)
        await asyncio.sleep(0.05)
        assert 76 <= running.comparison(1, 2).pairs <= 84
        floor = running.comparison(1, 1)
        assert 16 <= floor.pairs <= 24
        assert (floor.differing, floor.all.agree) == (0, floor.pairs)


@every_form
@in_loop
async def test_a_version_that_differs_on_some_inputs_is_found(form: str) -> None:
    upstream = alike()

    def sometimes(request: InferRequest, version: int) -> list[Tensor]:
        (answer,) = scores(request, 1)
        values = np.frombuffer(answer.data, "<f4").copy()
        if version == 2 and values[0] % 100 == 0:
            values[:] = values[::-1]
        return [replace(answer, data=values.tobytes())]

    upstream.models["digits"].answer = sometimes
    async with serving(upstream) as running, client(running, form) as asker:
        running.routes.replace(mirrored())
        for number in range(200):
            await asker.ask(Question(inputs=[image([number, 500, 1])]))
        found = await ended(running, lambda c: c.pairs == 200)
        assert (found.differing, found.all.agree) == (2, 200)


# Live requests never notice


@every_form
@in_loop
async def test_a_copy_that_hangs_delays_no_answer_and_is_given_up(form: str) -> None:
    upstream = FakeUpstream(holds={2: asyncio.Event()})
    async with serving(upstream, mirroring=QUICK) as running, client(running, form) as asker:
        running.routes.replace(mirrored())
        async with asyncio.timeout(2):
            answers = await ask(asker, 20)
        assert {answer.version for answer in answers} == {"1"}
        found = await ended(running, lambda c: c.failed + c.dropped == 20)
        assert found.failed >= 1
        assert found.pairs == 0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Unavailable("gone"), "failed"),
        (InvalidRequest("it does not like it"), "failed"),
        (DeadlineExceeded("late"), "failed"),
        (Overloaded("full"), "refused"),
        (RuntimeError("a defect of ours"), "defect"),
    ],
    ids=lambda value: type(value).__name__,
)
@in_loop
async def test_a_copy_that_fails_changes_no_answer_and_is_counted(error: Exception, outcome: str) -> None:
    async with serving(FakeUpstream(errors={2: error})) as running, client(running, "grpc-raw") as asker:
        running.routes.replace(mirrored())
        (answer,) = await ask(asker)
        assert (answer.message, answer.version) == ("", "1")
        await eventually(lambda: running.count("mirror", outcome=outcome) == 1)
        found = running.comparison()
        assert (found.failed, found.dropped) == ((1, 0) if outcome == "failed" else (0, 1))
        assert [version for _, version in running.upstream.requests] == [1, 2]  # once, whatever became of it


GARBAGE = [
    [],
    [Tensor("other", "FP32", (1, 3), bytes(12))],
    [Tensor("scores", "FP32", (1, 4), bytes(12))],
    [Tensor("scores", "FP32", (1, 3), b"")],
    [Tensor("scores", "BYTES", (1, 3), b"\xff\xff\xff\xff")],
    [Tensor("scores", "INT64", (3,), bytes(24)), Tensor("scores", "INT64", (3,), bytes(24))],
]


@pytest.mark.parametrize("garbage", GARBAGE)
@in_loop
async def test_a_copy_that_answers_garbage_differs(garbage: list[Tensor]) -> None:
    upstream = FakeUpstream()
    upstream.models["digits"].answer = lambda request, version: scores(request, 1) if version == 1 else garbage
    async with serving(upstream) as running, client(running, "rest-json") as asker:
        running.routes.replace(mirrored())
        (answer,) = await ask(asker)
        assert answer.version == "1"
        found = await ended(running, lambda c: c.pairs)
        assert (found.all.differing, found.all.mismatched) == (1, 1)


@in_loop
async def test_a_request_that_the_mirrored_version_does_not_take_fails_without_being_sent() -> None:
    upstream = FakeUpstream()
    interface = upstream.models["digits"].schema
    strict = schema("digits", [TensorSpec("image", "FP32", (-1, 5))], list(interface.outputs.values()), 8)

    async def by_version(model: str, version: int) -> object:
        return replace(strict if version == 2 else interface, version=version)

    upstream.schema = by_version  # type: ignore[method-assign,assignment]
    async with serving(upstream) as running, client(running, "rest-json") as asker:
        running.routes.replace(mirrored())
        (answer,) = await ask(asker)
        assert answer.version == "1"
        found = await ended(running, lambda c: c.failed)
        assert (found.pairs, len(upstream.requests)) == (0, 1)


@in_loop
async def test_answers_are_what_they_were_without_a_mirror() -> None:
    async with serving() as running, client(running, "rest-binary") as asker:
        running.routes.replace(mirrored())
        answers = await ask(asker, 10)
        assert {bytes(answer.outputs["scores"].data) for answer in answers} == {np.array([1, 2, 3], "<f4").tobytes()}
        found = await ended(running, lambda c: c.pairs == 10)
        assert found.differing == 10


# Bounds


@in_loop
async def test_what_finds_the_queue_full_is_not_copied_and_counted() -> None:
    upstream = FakeUpstream(holds={2: asyncio.Event()})
    settings = MirrorSettings(max_in_flight=1, max_queued=2, longest_wait_s=30.0, timeout_s=30.0, drain_s=0.0)
    async with serving(upstream, mirroring=settings) as running, client(running, "grpc-raw") as asker:
        running.routes.replace(mirrored())
        await ask(asker)
        await eventually(lambda: len(upstream.requests) == 2)
        await ask(asker, 7)
        assert running.count("mirror", outcome="full") == 5
        upstream.holds[2].set()
        found = await ended(running, lambda c: c.pairs == 3)
        assert (found.dropped, found.mirrored) == (5, 3)


@in_loop
async def test_what_would_hold_too_many_bytes_is_not_copied() -> None:
    upstream = FakeUpstream(holds={2: asyncio.Event()})
    settings = MirrorSettings(max_held_bytes=80, timeout_s=30.0, drain_s=0.0)  # two requests with their answers
    async with serving(upstream, mirroring=settings) as running, client(running, "grpc-raw") as asker:
        running.routes.replace(mirrored())
        await ask(asker, 5)
        assert running.count("mirror", outcome="full") == 3
        upstream.holds[2].set()
        await ended(running, lambda c: c.pairs == 2)
        await ask(asker)
        await ended(running, lambda c: c.pairs == 3)


@in_loop
async def test_a_copy_waits_while_live_requests_do_and_is_dropped_when_that_takes_long() -> None:
    upstream = FakeUpstream(holds={1: asyncio.Event()})
    async with (
        serving(upstream, admission=AdmissionSettings(fixed_limit=1), mirroring=QUICK) as running,
        client(running, "grpc-raw") as asker,
    ):
        running.routes.replace(mirrored(Mirror(3, 100, scores=True), stable=2))
        numbers = [Tensor(name, "INT32", (1, 2), bytes(8)) for name in ("LEFT", "RIGHT")]
        others = [asyncio.create_task(asker.ask(Question("pair", numbers))) for _ in range(2)]
        await eventually(lambda: running.gateway._admission.states() and len(upstream.requests) == 1)
        await asyncio.sleep(0.05)  # one of another model is in flight now, and one waits
        (answer,) = await ask(asker)
        assert answer.version == "2"
        await eventually(lambda: running.count("mirror", outcome="busy") == 1)
        upstream.holds[1].set()
        assert {answer.message for answer in await asyncio.gather(*others)} == {""}
        await ask(asker)
        await ended(running, lambda c: c.pairs == 1, 2, 3)


@in_loop
async def test_live_requests_leave_room_for_copies_only_below_every_limit() -> None:
    admission = Admission(AdmissionSettings(fixed_limit=2))
    assert admission.has_spare("m", 1, 2, 0)
    first = admission.enter("m", 1)
    assert admission.has_spare("m", 1, 2, 50)  # nothing is known of the mirrored version: its sender bounds copies
    second = admission.enter("m", 1)
    assert not admission.has_spare("m", 1, 2, 0)  # the answering version is full
    assert admission.has_spare("other", 1, 2, 0)
    waiter = asyncio.create_task(admission.wait("m", 1, deadline=time.perf_counter() + 5, priority=0))
    await asyncio.sleep(0)
    assert not admission.has_spare("other", 1, 2, 0)  # somebody waits
    assert first is not None
    assert second is not None
    first.leave(0.01, "ok")
    (await waiter).leave(0.01, "ok")
    candidate = admission.enter("m", 2)
    assert candidate is not None
    assert admission.has_spare("m", 1, 2, 0)
    assert not admission.has_spare("m", 1, 2, 1)  # a client's request and a copy fill the mirrored version
    candidate.leave(0.01, "ok")
    second.leave(0.01, "ok")
    admission.close()
    assert not admission.has_spare("m", 1, 2, 0)


@pytest.mark.parametrize("batching", [False, True])
@in_loop
async def test_a_floor_copy_becomes_a_row_of_a_batch_or_waits_until_nobody_is_there(batching: bool) -> None:
    upstream = alike()
    model = upstream.models["digits"]
    model.schema = replace(model.schema, at_once=8 if batching else 1)
    settings = MirrorSettings(longest_wait_s=60.0, drain_s=0.0)
    async with serving(upstream, mirroring=settings) as running, client(running, "grpc-raw") as asker:
        await ask(asker)
        upstream.holds[1] = asyncio.Event()
        running.routes.replace(mirrored(Mirror(2, 100, 100, scores=True)))
        one = asyncio.create_task(ask(asker))
        await eventually(lambda: len(upstream.requests) == 2)
        upstream.holds[1].set()
        await one  # its floor copy may wait now
        upstream.holds[1] = asyncio.Event()
        others = [asyncio.create_task(ask(asker)) for _ in range(3)]
        await eventually(lambda: sum(not request.is_copy for request, _ in upstream.requests) == 5)
        await asyncio.sleep(0.05)
        copies = sum(request.is_copy for request, _ in upstream.requests)
        assert copies == 1, "with nobody there at once, or as soon as a request waits"
        upstream.holds[1].set()
        await asyncio.gather(*others)
        del upstream.holds[1]
        if not batching:
            await ended(running, lambda c: c.pairs == 4, 1, 1)


@in_loop
async def test_slices_are_counted_apart_and_are_bounded() -> None:
    async with serving(alike()) as running, client(running, "grpc-raw") as asker:
        running.routes.replace(mirrored(Mirror(2, 100, slice_key="tier", scores=True)))
        for number in range(40):
            await ask(asker, parameters={"tier": f"{number % 20}"})
        await ask(asker)
        found = await ended(running, lambda c: c.pairs == 41)
        assert len(found.slices) == 17
        assert found.slices["tier=0"].pairs == found.slices["tier=15"].pairs == 2
        assert found.slices["other"].pairs == 9
        running.routes.replace(mirrored(Mirror(2, 100, slice_key="country", scores=True), generation=3))
        await ask(asker, parameters={"country": "x" * 500, "tier": "0"})
        found = await ended(running, lambda c: c.pairs == 42)
        assert found.slices["country=" + "x" * 64].pairs == 1
        assert found.slices["tier=0"].pairs == 2


@every_form
@in_loop
async def test_a_slice_is_the_value_of_a_header_or_of_a_parameter(form: str) -> None:
    async with serving(alike()) as running, client(running, form) as asker:
        running.routes.replace(mirrored(Mirror(2, 100, slice_key="Penstock-Routing-Key", scores=True)))
        await ask(asker, key="ada")
        found = await ended(running, lambda c: c.pairs == 1)
        assert found.slices.keys() == {"Penstock-Routing-Key=ada"}
        running.routes.replace(mirrored(Mirror(2, 100, slice_key="vip", scores=True), generation=3))
        await ask(asker, parameters={"vip": True})
        await ask(asker, parameters={"vip": 3})
        found = await ended(running, lambda c: c.pairs == 3)
        assert {name for name in found.slices if name.startswith("vip")} == {"vip=true", "vip=3"}


# What is never copied


@in_loop
async def test_sequences_and_decoupled_models_are_skipped_and_counted() -> None:
    async with serving() as running, client(running, "grpc-raw") as asker:
        running.routes.replace(mirrored())
        await ask(asker, parameters={"sequence_id": 7, "sequence_start": True})
        await ask(asker, parameters={"sequence_id": 7, "sequence_end": True})
        found = await ended(running, lambda c: c.skipped == 2)
        assert (found.pairs, len(running.upstream.requests)) == (0, 2)


@in_loop
async def test_requests_without_an_answer_are_not_copied() -> None:
    async with serving(FakeUpstream(errors={1: Unavailable("gone")})) as running, client(running, "rest-json") as asker:
        running.routes.replace(mirrored())
        await ask(asker, 3)
        assert {version for _, version in running.upstream.requests} == {1}
        assert running.comparison() == Comparison()


@in_loop
async def test_a_copy_asks_for_the_outputs_that_its_original_asked_for() -> None:
    async with serving(alike()) as running, client(running, "grpc-raw") as asker:
        running.routes.replace(mirrored())
        await ask(asker, outputs=[RequestedOutput("scores", 2)])
        await eventually(lambda: len(running.upstream.requests) == 2)
        assert running.upstream.requests[1][0].outputs == [RequestedOutput("scores", 2)]


# The end


@in_loop
async def test_a_worker_that_ends_drops_what_waits_and_waits_for_copies_no_longer_than_it_may() -> None:
    upstream = FakeUpstream(holds={2: asyncio.Event()})
    settings = MirrorSettings(max_in_flight=2, timeout_s=60.0, longest_wait_s=60.0, drain_s=0.1)
    async with serving(upstream, mirroring=settings) as running:
        async with client(running, "grpc-raw") as asker:
            running.routes.replace(mirrored())
            await ask(asker, 6)
            await eventually(lambda: len(upstream.requests) == 8)
        async with asyncio.timeout(5):
            await running.gateway.stop()
        found = running.comparison()
        assert (found.dropped, found.pairs, found.failed) == (6, 0, 0)
        assert running.count("mirror", outcome="ending") == 6
        assert upstream.cancelled == 2
        assert running.gateway._mirroring.held_bytes == 0


@in_loop
async def test_what_waits_for_a_mirror_that_is_gone_is_dropped() -> None:
    upstream = FakeUpstream(holds={2: asyncio.Event()})
    settings = MirrorSettings(max_in_flight=1, timeout_s=60.0, longest_wait_s=60.0, drain_s=0.0)
    async with serving(upstream, mirroring=settings) as running, client(running, "grpc-raw") as asker:
        running.routes.replace(mirrored())
        await ask(asker, 4)
        await eventually(lambda: len(upstream.requests) == 5)
        running.routes.replace(mirrored(None, generation=3))
        assert running.count("mirror", outcome="ending") == 3
        upstream.holds[2].set()
        await ended(running, lambda c: c.pairs == 1)
        await ask(asker, 2)
        assert len(upstream.requests) == 7
