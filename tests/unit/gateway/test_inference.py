"""What every form of every protocol promises: one suite, run over JSON, binary tensors, typed and raw contents."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from services.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    PenstockError,
    Unavailable,
    UpstreamFailure,
)
from services.core.inference import RequestedOutput
from services.core.route import Role
from services.core.tensor import Tensor
from services.gateway.admission import AdmissionSettings
from services.gateway.limits import Limits
from services.gateway.metrics.tallies import tallies
from services.gateway.outcomes import CANCELLED, EXPIRED, WITHDRAWN, departed
from tests.fakes.gateway import DTYPES, FORMS, Question, client, eventually, image, in_loop, serving, typed_values
from tests.fakes.upstream import DATATYPES, FakeUpstream, standard_table

every_form = pytest.mark.parametrize("form", FORMS)
_TEXTS = (b"", 'grüße "\n'.encode())
_EDGE_VALUES = {"BOOL": [True, False], "FP32": [0.1, -1.5e38], "FP64": [0.1, -1.7e308]}


def _tensor(datatype: str) -> Tensor:
    """Return a 1x2 tensor of the smallest and the largest value, or of other troublesome ones."""
    if datatype == "BYTES":
        data = b"".join(len(v).to_bytes(4, "little") + v for v in _TEXTS)
        return Tensor(datatype, datatype, (1, 2), data)
    if datatype in _EDGE_VALUES:
        return Tensor(datatype, datatype, (1, 2), np.array(_EDGE_VALUES[datatype], DTYPES[datatype]).tobytes())
    if datatype in ("FP16", "BF16"):
        return Tensor(datatype, datatype, (1, 2), b"\x00\x3c\x00\xbc")
    limits = np.iinfo(DTYPES[datatype])
    return Tensor(datatype, datatype, (1, 2), np.array([limits.min, limits.max], DTYPES[datatype]).tobytes())


@every_form
@in_loop
async def test_every_datatype_reaches_the_model_and_returns_bit_by_bit(form: str) -> None:
    async with serving() as running, client(running, form) as asker:
        for datatype in DATATYPES:
            sent = _tensor(datatype)
            running.upstream.requests.clear()
            answer = await asker.ask(Question("echo", [sent]))
            if datatype in ("FP16", "BF16") and form in ("rest-json", "grpc-typed"):
                assert asker.is_error(answer, InvalidRequest)
                assert datatype in answer.message
                assert not running.upstream.requests
                continue
            assert answer.message == ""
            received = running.upstream.requests[0][0].inputs[0]
            assert (received.datatype, received.shape, bytes(received.data)) == (datatype, (1, 2), sent.data)
            returned = answer.outputs[datatype]
            assert (returned.datatype, returned.shape) == (datatype, (1, 2))
            assert typed_values(returned) == typed_values(sent)


@every_form
@in_loop
async def test_several_inputs_and_outputs_keep_their_names_and_order(form: str) -> None:
    left = Tensor("LEFT", "INT32", (1, 2), np.array([5, 7], "<i4").tobytes())
    right = Tensor("RIGHT", "INT32", (1, 2), np.array([1, 2], "<i4").tobytes())
    async with serving() as running, client(running, form) as asker:
        answer = await asker.ask(Question("pair", [right, left], id="request 1"))
        assert [typed_values(tensor) for tensor in answer.outputs.values()] == [[6, 9], [4, 5]]
        assert (answer.model, answer.version, answer.id) == ("pair", "1", "request 1")
        only = await asker.ask(Question("pair", [left, right], outputs=[RequestedOutput("DIFFERENCE")]))
        assert list(only.outputs) == ["DIFFERENCE"]


@every_form
@in_loop
async def test_an_answer_names_its_version_and_role(form: str) -> None:
    async with serving() as running, client(running, form) as asker:
        running.routes.replace(standard_table(2, candidate=2, weight_percent=100))
        routed = await asker.ask(Question(inputs=[image([1, 2, 3])]))
        named = await asker.ask(Question(inputs=[image([1, 2, 3])], version="1"))
        assert typed_values(routed.outputs["scores"]) == [2, 4, 6]
        assert routed.version == routed.metadata["penstock-model-version"] == "2"
        assert routed.metadata["penstock-role"] == "candidate"
        assert typed_values(named.outputs["scores"]) == [1, 2, 3]
        assert named.version == named.metadata["penstock-model-version"] == "1"
        assert named.metadata["penstock-role"] == "pinned"


@every_form
@in_loop
async def test_a_key_stays_with_its_version_and_raising_the_weight_only_adds_keys(form: str) -> None:
    keys = [f"user-{number}" for number in range(40)]
    async with serving() as running, client(running, form) as asker:
        with_candidate: set[str] = set()
        for generation, weight in enumerate((0, 20, 50, 100), 2):
            running.routes.replace(standard_table(generation, candidate=2, weight_percent=weight))
            for _ in range(2):
                answers = [await asker.ask(Question(inputs=[image([1, 2, 3])], key=key)) for key in keys]
                now = {key for key, answer in zip(keys, answers, strict=True) if answer.version == "2"}
                assert now >= with_candidate
                assert len(now) in {0: (0,), 20: range(1, 20), 50: range(8, 33), 100: (40,)}[weight]
                with_candidate = now


@every_form
@in_loop
async def test_the_key_may_be_a_parameter_and_does_not_reach_the_model(form: str) -> None:
    async with serving() as running, client(running, form) as asker:
        running.routes.replace(standard_table(2, candidate=2, weight_percent=50))
        for key in ("a", "b", "c", "d", "e"):
            by_header = await asker.ask(Question(inputs=[image([1, 2, 3])], key=key))
            by_parameter = await asker.ask(
                Question(inputs=[image([1, 2, 3])], parameters={"routing_key": key, "mine": 1.5})
            )
            assert by_header.version == by_parameter.version
            assert running.upstream.requests[-1][0].parameters == {"mine": 1.5}


@every_form
@in_loop
async def test_a_version_that_is_not_in_the_table_is_refused_without_asking_triton(form: str) -> None:
    async with serving() as running, client(running, form) as asker:
        for version in ("3", "99", "abc", "0", "-1"):  # 3 is loaded, but not to be served
            answer = await asker.ask(Question(inputs=[image([1, 2, 3])], version=version))
            assert asker.is_error(answer, NotFound), (version, answer)
        assert "1, 2" in (await asker.ask(Question(inputs=[image([1, 2, 3])], version="3"))).message
        assert not running.upstream.requests
        assert running.upstream.schema_calls == 0


@every_form
@in_loop
async def test_classification_reaches_the_model_as_a_number_of_classes(form: str) -> None:
    async with serving() as running, client(running, form) as asker:
        await asker.ask(Question(inputs=[image([1, 2, 3])], outputs=[RequestedOutput("scores", 2)]))
        assert running.upstream.requests[0][0].outputs == [RequestedOutput("scores", 2)]


@every_form
@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("the model does not like it"),
        Overloaded("the queue is full"),
        Unavailable("Triton is away"),
        DeadlineExceeded("too slow"),
        UpstreamFailure("the model failed"),
    ],
    ids=lambda error: type(error).__name__,
)
@in_loop
async def test_an_error_of_triton_keeps_its_status_and_words(form: str, error: PenstockError) -> None:
    async with serving() as running, client(running, form) as asker:
        await asker.ask(Question(inputs=[image([1, 2, 3])]))
        running.upstream.error = error
        answer = await asker.ask(Question(inputs=[image([1, 2, 3])]))
        assert asker.is_error(answer, type(error))
        assert answer.message == str(error)
        if isinstance(error, Overloaded | Unavailable):
            assert "retry-after" in answer.metadata or "grpc-retry-pushback-ms" in answer.metadata


@every_form
@in_loop
async def test_a_defect_of_ours_answers_internal_with_an_incident_number_and_nothing_else(form: str) -> None:
    upstream = FakeUpstream()
    upstream.models["digits"].answer = lambda _request, _version: [None]  # type: ignore[list-item]
    async with serving(upstream) as running, client(running, form) as asker:
        answer = await asker.ask(Question(inputs=[image([1, 2, 3])]))
        assert answer.status in (500, 13)
        assert "incident" in answer.message
        assert "NoneType" not in answer.message


@every_form
@in_loop
async def test_a_version_that_triton_has_lost_is_unavailable_and_its_schema_is_asked_for_again(form: str) -> None:
    async with serving() as running, client(running, form) as asker:
        await asker.ask(Question(inputs=[image([1, 2, 3])]))
        asked = running.upstream.schema_calls
        running.upstream.error = Unavailable("Request for unknown model: 'digits'")
        lost = await asker.ask(Question(inputs=[image([1, 2, 3])]))
        assert asker.is_error(lost, Unavailable)
        running.upstream.error = None
        back = await asker.ask(Question(inputs=[image([1, 2, 3])]))
        assert back.version == "1"
        assert running.upstream.schema_calls == asked + 1


@every_form
@in_loop
async def test_what_a_model_itself_does_not_find_is_told_as_it_said_it(form: str) -> None:
    async with serving() as running, client(running, form) as asker:
        running.upstream.error = NotFound("no user 7")
        answer = await asker.ask(Question(inputs=[image([1, 2, 3])]))
        assert asker.is_error(answer, NotFound)
        assert "no user 7" in answer.message


@every_form
@in_loop
async def test_without_a_route_table_requests_are_unavailable(form: str) -> None:
    async with serving(table=False) as running, client(running, form) as asker:
        answer = await asker.ask(Question(inputs=[image([1, 2, 3])]))
        assert asker.is_error(answer, Unavailable)
        assert not running.upstream.requests


@every_form
@in_loop
async def test_one_request_over_the_limit_is_refused_at_once(form: str) -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    async with (
        serving(upstream, Limits(drain_s=2.0), admission=AdmissionSettings(max_in_flight=2, max_queued=0)) as running,
        client(running, form) as asker,
        asyncio.TaskGroup() as tasks,
    ):
        assert upstream.hold is not None
        held = [tasks.create_task(asker.ask(Question(inputs=[image([1, 2, 3])]))) for _ in range(2)]
        await eventually(lambda: len(upstream.requests) == 2)
        assert running.slab.in_flight == 2
        refused = await asker.ask(Question(inputs=[image([1, 2, 3])]))
        assert asker.is_error(refused, Overloaded)
        assert len(upstream.requests) == 2
        upstream.hold.set()
        assert [(await task).version for task in held] == ["1", "1"]
        assert (await asker.ask(Question(inputs=[image([1, 2, 3])]))).version == "1"
        assert running.slab.in_flight == 0


@every_form
@in_loop
async def test_the_gateways_timeout_bounds_a_request_that_has_none(form: str) -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    async with serving(upstream, Limits(request_timeout_s=0.1, drain_s=2.0)) as running, client(running, form) as asker:
        answer = await asker.ask(Question(inputs=[image([1, 2, 3])]))
        assert asker.is_error(answer, DeadlineExceeded)
        assert running.count("request", outcome="deadline_exceeded", version="1") == 1


@every_form
@in_loop
async def test_the_parameter_timeout_bounds_a_request(form: str) -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    async with serving(upstream) as running, client(running, form) as asker:
        answer = await asker.ask(Question(inputs=[image([1, 2, 3])], parameters={"timeout": 50_000}))
        assert asker.is_error(answer, DeadlineExceeded)


@every_form
@in_loop
async def test_an_expired_request_is_never_forwarded(form: str) -> None:
    async with serving() as running, client(running, form) as asker:
        answer = await asker.ask(Question(inputs=[image([1, 2, 3])], parameters={"timeout": 1}))
        assert asker.is_error(answer, DeadlineExceeded)
        assert not running.upstream.requests
        assert running.count("request", outcome="expired") == 1


@every_form
@in_loop
async def test_a_client_that_goes_away_ends_its_request(form: str) -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    async with serving(upstream) as running, client(running, form) as asker:
        task = asyncio.create_task(asker.ask(Question(inputs=[image([1, 2, 3])])))
        await eventually(lambda: upstream.requests)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await eventually(lambda: upstream.cancelled)
        await eventually(lambda: running.count("request", outcome="cancelled"))
        assert running.slab.in_flight == 0
        tally = tallies(running.slab.records())["digits", 1, Role.STABLE]
        assert (tally.requests, tally.unanswered, tally.answers, tally.latency.total) == (1, 1, 0, 1)


@every_form
@in_loop
async def test_a_client_that_goes_away_while_its_request_waits_is_no_evidence(form: str) -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    settings = AdmissionSettings(max_in_flight=1, max_queued=4, longest_wait_s=60.0)
    async with serving(upstream, admission=settings) as running, client(running, form) as asker:
        assert upstream.hold is not None
        held = asyncio.create_task(asker.ask(Question(inputs=[image([1, 2, 3])])))
        await eventually(lambda: upstream.requests)
        waits = asyncio.create_task(asker.ask(Question(inputs=[image([1, 2, 3])])))
        # The gauge has a cell of its own for being there.
        await eventually(lambda: running.count("in_flight", version="1") == 1 + 2)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        await eventually(lambda: running.count("request", outcome="withdrawn"))
        upstream.hold.set()
        assert (await held).version == "1"
        tally = tallies(running.slab.records())["digits", 1, Role.STABLE]
        assert (tally.requests, tally.unanswered) == (1, 0)


@pytest.mark.parametrize(
    ("forwarded", "late", "outcome"),
    [(True, False, CANCELLED), (True, True, "deadline_exceeded"), (False, False, WITHDRAWN), (False, True, EXPIRED)],
)
def test_who_goes_away_at_the_deadline_was_late_and_only_what_was_asked_is_blamed(
    *, forwarded: bool, late: bool, outcome: str
) -> None:
    assert departed(forwarded=forwarded, late=late) == outcome


@pytest.mark.parametrize("form", ["grpc-raw", "grpc-typed"])
@in_loop
async def test_the_deadline_of_a_grpc_client_counts_against_the_version_and_not_as_a_client_that_left(
    form: str,
) -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    async with serving(upstream) as running, client(running, form) as asker:
        answer = await asker.ask(Question(inputs=[image([1, 2, 3])], timeout_s=0.2))
        assert asker.is_error(answer, DeadlineExceeded)
        await eventually(lambda: running.count("request", outcome="deadline_exceeded", version="1"))


@every_form
@in_loop
async def test_requests_in_flight_are_answered_while_the_worker_drains(form: str) -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    async with serving(upstream, Limits(drain_s=10.0)) as running, client(running, form) as asker:
        assert upstream.hold is not None
        held = [asyncio.create_task(asker.ask(Question(inputs=[image([1, 2, 3])]))) for _ in range(3)]
        await eventually(lambda: len(upstream.requests) == 3)
        stopping = asyncio.create_task(running.gateway.stop())
        await asyncio.sleep(0.5)
        assert not stopping.done()
        upstream.hold.set()
        assert [(await task).version for task in held] == ["1", "1", "1"]
        await stopping


@every_form
@in_loop
async def test_concurrent_first_requests_ask_for_the_schema_once(form: str) -> None:
    async with serving() as running, client(running, form) as asker:
        answers = await asyncio.gather(*(asker.ask(Question(inputs=[image([1, 2, 3])])) for _ in range(10)))
        assert {answer.version for answer in answers} == {"1"}
        assert running.upstream.schema_calls == 1


@every_form
@in_loop
async def test_what_is_counted(form: str) -> None:
    async with serving() as running, client(running, form) as asker:
        await asker.ask(Question(inputs=[image([1, 2, 3], [3, 2, 1])]))
        await asker.ask(Question(inputs=[image([1, 9, 3])], version="2"))
        await asker.ask(Question(inputs=[image([1, 2, float("nan")])]) if form != "rest-json" else Question())
        await asker.ask(Question("nobody"))
        labels = {"model": "digits", "protocol": asker.protocol}
        answered = 2 if form != "rest-json" else 1
        assert running.count("request", **labels, version="1", role="stable", outcome="ok") == answered
        assert running.count("request", **labels, version="2", role="pinned", outcome="ok") == 1
        assert running.count("request", model="", outcome="not_found", protocol=asker.protocol) == 1
        assert running.count("stage", **labels, version="2", stage="forward") == 1
        assert running.count("stage", **labels, version="2", stage="answer") == 1
        assert running.count("non_finite", model="digits", version="1") == answered - 1
        assert running.count("predictions", model="digits", version="1", output="scores") == 2
        assert running.count("predictions", model="digits", version="2", output="scores") == 1
