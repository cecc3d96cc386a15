"""What a gateway remembers of an A/B test, and what it passes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.core.errors import Conflict, InvalidRequest, NotFound, Overloaded, Unavailable
from services.core.rollouts.feedback import Taken
from services.core.route import Role, Route, RouteTable
from services.gateway.answer_memory import CELLS, AnswerMemory, create_answer_memory
from services.gateway.control.feedback_desk import Done, FeedbackDesk, Told
from services.gateway.edge.feedback import FeedbackItem, items_of_json
from services.gateway.routes import Routes
from tests.fakes.feedback_controller import FeedbackController, feedback_controller

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_answer_memory(tmp_path / "answers")
    return tmp_path / "answers"


def table(generation: int, stable: int, candidate: int) -> RouteTable:
    """Return one with an A/B test that it brought."""
    route = Route("m", stable, candidate, 50, frozenset({stable, candidate}), experiment=True)
    return RouteTable(generation, {"m": route}, {"m": generation})


@asynccontextmanager
async def at_desk(
    path: Path, routes: Routes | None = None, **bounds: Any
) -> AsyncIterator[tuple[FeedbackDesk, AnswerMemory, FeedbackController]]:
    routes, memory = routes or Routes(), AnswerMemory(path)
    routes.replace(table(7, 1, 2))
    async with feedback_controller() as (controller, controllers):
        yield FeedbackDesk(memory, routes, controllers, **bounds), memory, controller


def test_what_one_worker_remembers_its_siblings_know(path: Path) -> None:
    one, other = AnswerMemory(path), AnswerMemory(path)
    one.remember("m", 7, "a", 2)
    assert (one.version_of("m", 7, "a"), other.version_of("m", 7, "a")) == (2, 2)
    assert other.version_of("m", 7, "b") is None
    assert other.version_of("n", 7, "a") is None
    assert other.version_of("m", 8, "a") is None, "of another test"
    other.remember("m", 7, "a", 3)
    assert one.version_of("m", 7, "a") == 3


def test_most_of_many_are_remembered_and_none_is_mistaken_for_another(path: Path) -> None:
    memory, many = AnswerMemory(path), CELLS // 10
    for number in range(many):
        memory.remember("m", 7, f"r-{number}", 1 + number % 5)
    found = [memory.version_of("m", 7, f"r-{number}") for number in range(many)]
    assert all(version in {None, 1 + number % 5} for number, version in enumerate(found))
    assert found.count(None) < 0.06 * many
    assert all(memory.version_of("m", 7, f"other-{number}") is None for number in range(1_000))


def test_a_version_that_does_not_fit_is_not_remembered(path: Path) -> None:
    memory = AnswerMemory(path)
    memory.remember("m", 7, "a", 2**24)
    assert memory.version_of("m", 7, "a") is None


def test_a_new_table_knows_nothing_of_an_earlier_one(path: Path) -> None:
    AnswerMemory(path).remember("m", 7, "a", 2)
    create_answer_memory(path)
    assert AnswerMemory(path).version_of("m", 7, "a") is None


def test_only_choices_of_an_experiment_are_to_be_remembered() -> None:
    routes = Routes()
    ab = Route("ab", 1, 2, 50, frozenset({1, 2}), experiment=True)
    canary = Route("canary", 1, 2, 50, frozenset({1, 2}))
    routes.replace(RouteTable(9, {"ab": ab, "canary": canary}, {"ab": 5, "canary": 9}))
    assert (routes.pick("ab", None, "key").test, routes.test_of("ab")) == (5, 5)
    assert routes.pick("ab", 1, "key") == (1, Role.PINNED, None, None)  # who names a version is in no test
    assert (routes.pick("canary", None, "key").test, routes.test_of("canary")) == (None, None)
    routes.replace(RouteTable(10, {"ab": ab}))  # of a controller that does not say when the test began
    assert routes.pick("ab", None, "key").test == 0


async def test_the_version_is_the_one_that_answered_or_else_the_one_that_the_client_names(path: Path) -> None:
    async with at_desk(path) as (desk, memory, controller):
        memory.remember("m", 7, "known", 2)
        memory.remember("m", 7, "named", 2)
        told = [
            Told("known", None, {"clicked": 1.0}),
            Told("named", 2, {"clicked": 1.0}),
            Told("long-ago", 1, {"clicked": 0.0}),
        ]
        done = await desk.take("m", told)
        assert done == [Done(each.request_id, "clicked", Taken.STORED) for each in told]
        stored = [(one.request_id, one.version, one.value) for one in controller.got[0].outcomes]
        assert stored == [("known", 2, 1.0), ("named", 2, 1.0), ("long-ago", 1, 0.0)]
        with pytest.raises(NotFound, match="add model_version"):
            await desk.take("m", [Told("known", None, {"clicked": 1.0}), Told("never", None, {"clicked": 1.0})])
        assert len(controller.got) == 1, "nothing of a refused call is passed on"


async def test_a_client_that_names_another_version_than_answered_is_told_so_and_the_others_are_stored(
    path: Path,
) -> None:
    async with at_desk(path) as (desk, memory, controller):
        memory.remember("m", 7, "mixed-up", 2)
        told = [Told("a", 1, {"clicked": 1.0}), Told("mixed-up", 1, {"clicked": 1.0, "spent": 2.0})]
        stored, *conflicting = await desk.take("m", told)
        assert stored == Done("a", "clicked", Taken.STORED)
        assert [(one.outcome, one.taken) for one in conflicting] == [
            ("clicked", Taken.CONFLICTING),
            ("spent", Taken.CONFLICTING),
        ]
        for one in conflicting:
            assert "version 2 answered request 'mixed-up' here last, and model_version says 1" in one.reason
        assert [(one.request_id, one.version) for one in controller.got[0].outcomes] == [("a", 1)]
        [again] = await desk.take("m", [Told("mixed-up", 1, {"clicked": 1.0})])
        assert (again.taken, len(controller.got)) == (Taken.CONFLICTING, 1), "there was nothing to pass on"


async def test_what_is_remembered_of_one_test_says_nothing_in_the_next(path: Path) -> None:
    routes = Routes()
    async with at_desk(path, routes) as (desk, memory, controller):
        memory.remember("m", 7, "a", 2)
        routes.replace(table(12, 1, 3))
        with pytest.raises(NotFound, match="of an earlier test"):
            await desk.take("m", [Told("a", None, {"clicked": 1.0})])
        await desk.take("m", [Told("a", 3, {"clicked": 1.0})])
        assert [(one.request_id, one.version) for one in controller.got[0].outcomes] == [("a", 3)]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.FAILED_PRECONDITION, Conflict),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.INTERNAL, Unavailable),
    ],
)
async def test_what_the_controller_refuses_its_client_hears(
    path: Path, code: grpc.StatusCode, error: type[Exception]
) -> None:
    async with at_desk(path) as (desk, _, controller):
        controller.refuses = code
        with pytest.raises(error, match="because"):
            await desk.take("m", [Told("a", 1, {"clicked": 1.0})])


async def test_waits_are_bounded_in_time_and_number(path: Path) -> None:
    async with at_desk(path, timeout_s=0.3, most=1) as (desk, _, controller):
        controller.delay_s = 30.0
        waiting = asyncio.create_task(desk.take("m", [Told("a", 1, {"clicked": 1.0})]))
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded, match="wait for the controller"):
            await desk.take("m", [Told("b", 1, {"clicked": 1.0})])
        with pytest.raises(Unavailable, match="each counts once"):
            await waiting
        controller.delay_s = 0.0
        assert len(await desk.take("m", [Told("b", 1, {"clicked": 1.0})])) == 1


async def test_a_call_is_bounded_and_names_a_model_that_is_served(path: Path) -> None:
    async with at_desk(path) as (desk, _, controller):
        with pytest.raises(InvalidRequest, match="at most 256"):
            await desk.take("m", [Told(f"{n}", 1, {"a": 1.0, "b": 1.0}) for n in range(129)])
        with pytest.raises(NotFound, match="not served"):
            await desk.take("n", [Told("a", 1, {"clicked": 1.0})])
        with pytest.raises(InvalidRequest, match="model_version 0"):
            await desk.take("m", [Told("a", 0, {"clicked": 1.0})])
        assert controller.got == []


def test_a_body_is_one_item_or_a_list() -> None:
    one = FeedbackItem(id="a", model_version=3, outcomes={"clicked": 1})
    assert items_of_json(b'{"id": "a", "model_version": "3", "outcomes": {"clicked": 1}}') == [one]
    assert items_of_json(b'[{"id": "a", "model_version": 3, "outcomes": {"clicked": 1.0}}]') == [one]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"id": "", "outcomes": {"clicked": 1}}',
        b'{"id": "a", "outcomes": {}}',
        b'{"id": "a", "outcomes": {"clicked": null}}',
        b'{"id": "a", "outcomes": {"clicked": 1}, "more": 1}',
        b'{"id": "a", "outcomes": {"clicked": 1e999}}',
        b'{"id": "%s", "outcomes": {"clicked": 1}}' % (b"x" * 201),
        b"[" + b",".join([b'{"id": "a", "outcomes": {"clicked": 1}}'] * 257) + b"]",
    ],
)
def test_a_body_of_another_form_is_refused_with_an_example(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="clicked"):
        items_of_json(body)
