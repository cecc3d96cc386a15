"""Feedback at both edges of a real gateway: the same form, bounds and refusals over REST and gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc
import orjson
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.core.errors import (
    OK,
    STATUS,
    Conflict,
    InvalidRequest,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    PenstockError,
    Unavailable,
)
from services.core.route import Route, RouteTable
from services.gateway.answer_memory import AnswerMemory, create_answer_memory
from services.gateway.control.feedback_desk import FeedbackDesk
from services.pb.penstock.v1 import outcomes_pb2, outcomes_pb2_grpc
from services.triton.http import HttpPool
from tests.fakes.feedback_controller import FeedbackController, feedback_controller
from tests.fakes.gateway import eventually, in_loop, serving

ROUTES = {
    "digits": Route("digits", 1, 2, 50, frozenset({1, 2}), experiment=True),
    "echo": Route("echo", 1, versions=frozenset({1})),
}
CLICKED = {"clicked": 1.0}
TEST = 2


@dataclass
class Reply:
    """A status of the protocol, its words, and what was done with each outcome."""

    status: int
    words: str = ""
    results: tuple[tuple[str, str, str], ...] = ()
    reasons: tuple[str, ...] = ()


class Teller(Protocol):
    """Sends feedback over one protocol."""

    async def tell(self, *items: dict[str, Any], model: str = "digits") -> Reply: ...

    def status(self, error: type[PenstockError] | None) -> int:
        """Return the status of an error, or of none."""
        ...


class RestTeller:
    def __init__(self, pool: HttpPool) -> None:
        self._pool = pool

    def status(self, error: type[PenstockError] | None) -> int:
        return (OK if error is None else STATUS[error]).http

    async def tell(self, *items: dict[str, Any], model: str = "digits") -> Reply:
        body = orjson.dumps(list(items))
        answer = await self._pool.request("POST", f"/v2/models/{model}/feedback", {}, [body], 10.0)
        document = orjson.loads(answer.body)
        if answer.status != OK.http:
            return Reply(answer.status, document["error"])
        results = document["results"]
        reasons = tuple(r["reason"] for r in results if "reason" in r)
        return Reply(answer.status, "", tuple((r["id"], r["outcome"], r["result"]) for r in results), reasons)


class GrpcTeller:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub = outcomes_pb2_grpc.OutcomeServiceStub(channel)

    def status(self, error: type[PenstockError] | None) -> int:
        return (OK if error is None else STATUS[error]).grpc

    async def tell(self, *items: dict[str, Any], model: str = "digits") -> Reply:
        try:
            answer = await self.stub.SendFeedback(request_of(*items, model=model), timeout=10.0)
        except grpc.aio.AioRpcError as error:
            return Reply(error.code().value[0], error.details() or "")
        reasons = tuple(one.reason for one in answer.results if one.reason)
        return Reply(OK.grpc, "", tuple((one.id, one.outcome, one.result) for one in answer.results), reasons)


def request_of(*items: dict[str, Any], model: str = "digits") -> outcomes_pb2.SendFeedbackRequest:
    return outcomes_pb2.SendFeedbackRequest(
        model=model, feedback=[outcomes_pb2.RequestFeedback(**item) for item in items]
    )


@dataclass
class Place:
    """A gateway that takes feedback, and what is around it."""

    teller: Teller
    memory: AnswerMemory
    controller: FeedbackController
    counted: list[tuple[str, str, int]]
    grpc_port: int


@asynccontextmanager
async def at_edge(protocol: str, folder: Path, **bounds: Any) -> AsyncIterator[Place]:
    create_answer_memory(folder / "answers")
    memory = AnswerMemory(folder / "answers")
    counted: list[tuple[str, str, int]] = []

    def count(model: str, result: str, outcomes: int) -> None:
        counted.append((model, result, outcomes))

    async with (
        feedback_controller() as (controller, controllers),
        serving(feedback=lambda routes: FeedbackDesk(memory, routes, controllers, count=count, **bounds)) as running,
    ):
        running.routes.replace(RouteTable(TEST, ROUTES, {"digits": TEST}))
        pool, port = HttpPool("127.0.0.1", running.gateway.http_port), running.gateway.grpc_port
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                teller: Teller = RestTeller(pool) if protocol == "rest" else GrpcTeller(channel)
                yield Place(teller, memory, controller, counted, port)
        finally:
            await pool.aclose()


both = pytest.mark.parametrize("protocol", ["rest", "grpc"])


@both
@in_loop
async def test_outcomes_reach_the_controller_with_the_version_that_answered(protocol: str, tmp_path: Path) -> None:
    async with at_edge(protocol, tmp_path) as place:
        place.memory.remember("digits", TEST, "known", 2)
        reply = await place.teller.tell(
            {"id": "known", "outcomes": {"clicked": 1.0, "spent": 2.5}},
            {"id": "long-ago", "model_version": 1, "outcomes": {"clicked": 0.0}},
        )
        assert reply.status == place.teller.status(None), reply
        assert sorted(reply.results) == [
            ("known", "clicked", "stored"),
            ("known", "spent", "stored"),
            ("long-ago", "clicked", "stored"),
        ]
        [report] = place.controller.got
        assert sorted((one.request_id, one.version, one.outcome, one.value) for one in report.outcomes) == [
            ("known", 2, "clicked", 1.0),
            ("known", 2, "spent", 2.5),
            ("long-ago", 1, "clicked", 0.0),
        ]
        place.controller.answers = "conflicting"
        again = await place.teller.tell({"id": "known", "outcomes": CLICKED})
        assert again.results == (("known", "clicked", "conflicting"),)
        assert place.counted == [("digits", "stored", 3), ("digits", "conflicting", 1)]


@both
@in_loop
async def test_another_version_than_answered_is_a_conflict_with_its_reason(protocol: str, tmp_path: Path) -> None:
    async with at_edge(protocol, tmp_path) as place:
        place.memory.remember("digits", TEST, "mixed-up", 2)
        place.memory.remember("digits", TEST - 1, "again", 2)
        reply = await place.teller.tell(
            {"id": "mixed-up", "model_version": 1, "outcomes": CLICKED},
            {"id": "again", "model_version": 1, "outcomes": CLICKED},
        )
        assert reply.status == place.teller.status(None), reply
        assert reply.results == (("mixed-up", "clicked", "conflicting"), ("again", "clicked", "stored"))
        [reason] = reply.reasons
        assert "version 2 answered request 'mixed-up' here last, and model_version says 1" in reason
        [report] = place.controller.got
        assert [(one.request_id, one.version) for one in report.outcomes] == [("again", 1)]


@both
@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([], "at least 1 item"),
        ([{"id": "", "outcomes": CLICKED}], "at least 1 char"),
        ([{"id": "x" * 201, "outcomes": CLICKED}], "at most 200 char"),
        ([{"id": "a\0b", "model_version": 1, "outcomes": CLICKED}], "without NUL"),
        ([{"id": "a", "outcomes": {}}], "at least 1 item"),
        ([{"id": "a", "outcomes": {f"o{number}": 1.0 for number in range(9)}}], "at most 8 items"),
        ([{"id": "a", "model_version": 0, "outcomes": CLICKED}], "model_version 0"),
        ([{"id": f"{number}", "model_version": 1, "outcomes": CLICKED} for number in range(257)], "at most 256"),
        (
            [{"id": f"{n}", "model_version": 1, "outcomes": {"a": 1.0, "b": 1.0}} for n in range(129)],
            "258 outcomes in one call",
        ),
    ],
    ids=["none", "no id", "long id", "nul", "no outcome", "many names", "version 0", "many requests", "many outcomes"],
)
@in_loop
async def test_what_is_out_of_bounds_is_refused_in_words_and_passed_to_nobody(
    protocol: str, items: list[dict[str, Any]], words: str, tmp_path: Path
) -> None:
    async with at_edge(protocol, tmp_path) as place:
        reply = await place.teller.tell(*items)
        assert reply.status == place.teller.status(InvalidRequest), reply
        assert words in reply.words
        assert place.controller.got == []


@both
@in_loop
async def test_refusals_have_the_status_that_the_protocol_has_for_them(protocol: str, tmp_path: Path) -> None:
    async with at_edge(protocol, tmp_path) as place:

        async def refused(
            error: type[PenstockError], words: str, *items: dict[str, Any], model: str = "digits"
        ) -> None:
            reply = await place.teller.tell(*items, model=model)
            assert reply.status == place.teller.status(error), reply
            assert words in reply.words

        one = {"id": "a", "model_version": 1, "outcomes": CLICKED}
        await refused(NotFound, "served are: digits, echo", one, model="nothing")
        await refused(Conflict, "no A/B test under way", one, model="echo")
        await refused(NotFound, "add model_version", {"id": "never", "outcomes": CLICKED})
        await refused(PayloadTooLarge, "send smaller batches", *[{**one, "outcomes": {"x" * 5000: 1.0}}] * 250)
        assert place.controller.got == []
        for code, error in (
            (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
            (grpc.StatusCode.FAILED_PRECONDITION, Conflict),
            (grpc.StatusCode.UNAVAILABLE, Unavailable),
        ):
            place.controller.refuses = code
            await refused(error, "because", one)
        assert place.counted == [("", "refused", 1), ("echo", "refused", 1), *[("digits", "refused", 1)] * 4]


@both
@in_loop
async def test_a_controller_that_hangs_costs_a_bounded_wait_and_few_places(protocol: str, tmp_path: Path) -> None:
    async with at_edge(protocol, tmp_path, timeout_s=0.5, most=1) as place:
        place.controller.delay_s = 30.0
        one = {"id": "a", "model_version": 1, "outcomes": CLICKED}
        waiting = asyncio.create_task(place.teller.tell(one))
        await eventually(lambda: place.controller.got)
        second = await place.teller.tell(one)
        assert (second.status, len(place.controller.got)) == (place.teller.status(Overloaded), 1)
        assert (await waiting).status == place.teller.status(Unavailable)
        place.controller.delay_s = 0.0
        assert (await place.teller.tell(one)).status == place.teller.status(None), "the place is free again"


@in_loop
async def test_a_grpc_deadline_ends_the_wait_and_frees_its_place(tmp_path: Path) -> None:
    async with at_edge("grpc", tmp_path, most=1) as place:
        assert isinstance(place.teller, GrpcTeller)
        place.controller.delay_s = 30.0
        one = {"id": "a", "model_version": 1, "outcomes": CLICKED}
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await place.teller.stub.SendFeedback(request_of(one), timeout=0.3)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        place.controller.delay_s = 0.0

        async def taken() -> bool:
            return (await place.teller.tell(one)).status == 0

        while not await taken():  # noqa: ASYNC110 - the gateway hears of the client's end a moment later
            await asyncio.sleep(0.01)


@in_loop
async def test_grpc_feedback_may_be_compressed_and_bytes_that_are_none_are_refused(tmp_path: Path) -> None:
    async with at_edge("grpc", tmp_path) as place, grpc.aio.insecure_channel(f"127.0.0.1:{place.grpc_port}") as channel:
        stub = outcomes_pb2_grpc.OutcomeServiceStub(channel)
        request = request_of(*[{"id": f"{n}", "model_version": 1, "outcomes": CLICKED} for n in range(200)])
        answer = await stub.SendFeedback(request, compression=grpc.Compression.Gzip)
        assert len(answer.results) == 200
        raw = channel.unary_unary("/penstock.v1.OutcomeService/SendFeedback")
        for data in (b"\xff\xff\xff", b"\n\x02\xff\xfe", b"\x12\x05\n\x01"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await raw(data)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "SendFeedback" in (refused.value.details() or "")
        for value in (float("nan"), float("inf")):
            reply = await place.teller.tell({"id": "a", "model_version": 1, "outcomes": {"clicked": value}})
            assert reply.status == place.teller.status(InvalidRequest)
            assert "finite" in reply.words


@in_loop
async def test_reflection_shows_the_service_where_feedback_is_taken(tmp_path: Path) -> None:
    async with at_edge("grpc", tmp_path) as place, grpc.aio.insecure_channel(f"127.0.0.1:{place.grpc_port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        ask = [reflection_pb2.ServerReflectionRequest(file_containing_symbol="penstock.v1.OutcomeService")]
        [answer] = [one async for one in stub.ServerReflectionInfo(iter(ask))]
        assert b"SendFeedback" in answer.file_descriptor_response.file_descriptor_proto[0]
    async with serving() as running, grpc.aio.insecure_channel(f"127.0.0.1:{running.gateway.grpc_port}") as channel:
        stub = outcomes_pb2_grpc.OutcomeServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.SendFeedback(request_of())
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
