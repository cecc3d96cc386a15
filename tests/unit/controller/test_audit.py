"""Who did what, when, from which state: of persons and of the controller, and what was refused."""

from collections.abc import AsyncIterator
from itertools import pairwise

import httpx2
import pytest

from services.cli.rollout_text import AUDIT_COLUMNS, audit_row
from services.controller.api.rest import rest_app
from services.controller.storage.audit_documents import encode_record
from services.controller.storage.store import AuditQuery
from services.core.errors import Conflict, InvalidRequest, NotFound
from services.core.rollouts.audit import AuditOutcome, AuditRecord
from services.core.rollouts.event import VERBS, Event, EventKind
from services.core.rollouts.rollout import Phase
from services.core.rollouts.rollout_spec import RolloutSpec, Step
from tests.fakes.control_plane import ControlPlane, FakeRepository

pytestmark = pytest.mark.anyio
SPEC = RolloutSpec("digits", 2, steps=(Step(10, 3, 20), Step(50, 3, 20)), max_step_duration_s=600)


@pytest.fixture
async def world() -> AsyncIterator[ControlPlane]:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2]
        yield world


async def records(world: ControlPlane) -> list[AuditRecord]:
    """Return all records, the oldest first."""
    page = await world.store.audit(AuditQuery(limit=1000))
    return list(reversed(page.records))


async def test_every_change_is_recorded_with_the_state_before_and_after(world: ControlPlane) -> None:
    rollout = await world.operations.start(SPEC, "ada", "r-1")
    for _ in range(80):
        await world.tick()
    changes = [record for record in await records(world) if record.rollout == rollout.id and record.action != "route"]
    assert [record.action for record in changes] == ["start", "loaded", "warmed", "assessed", "assessed", "drained"]
    assert changes[0].source is None
    assert (changes[0].actor, changes[0].request_id) == ("ada", "r-1")
    for before, after in pairwise(changes):
        assert after.source == before.target, "no change is left out"
    assert [(r.target.phase, r.target.step, r.target.weight_percent) for r in changes if r.target] == [
        (Phase.PREPARING, 0, 0),
        (Phase.WARMING, 0, 0),
        (Phase.PROGRESSING, 0, 10),
        (Phase.PROGRESSING, 1, 50),
        (Phase.PROMOTING, 1, 100),
        (Phase.PROMOTED, 1, 100),
    ]
    assert all(record.instance == "controller-1" and record.reason for record in changes)
    routes = [record for record in await records(world) if record.action == "route"]
    weights = [(r.source and r.source.weight_percent, r.target and r.target.weight_percent) for r in routes]
    assert weights == [(None, 0), (0, 10), (10, 50), (50, 0)]
    assert [r.target.stable for r in routes if r.target] == [1, 1, 1, 2]
    assert {r.rollout for r in routes[1:]} == {rollout.id}


async def test_what_is_refused_is_recorded_with_its_reason(world: ControlPlane) -> None:
    attempts = (
        (NotFound, world.operations.start(RolloutSpec("digits", 9), "eve")),
        (InvalidRequest, world.operations.start(RolloutSpec("digits", 1), "eve")),
        (NotFound, world.operations.steer("digits-9", Event(EventKind.ABORT, "eve"))),
    )
    for kind, attempt in attempts:
        with pytest.raises(kind):
            await attempt
    rollout = await world.operations.start(SPEC, "ada")
    with pytest.raises(Conflict):
        await world.operations.start(SPEC, "eve")
    with pytest.raises(Conflict):
        await world.operations.steer(rollout.id, Event(EventKind.RESUME, "eve", "go on"))
    refused = [record for record in await records(world) if record.outcome is AuditOutcome.REFUSED]
    assert [record.actor for record in refused] == ["eve"] * 5
    assert [record.action for record in refused] == ["start", "start", "abort", "start", "resume"]
    assert all(record.target is None for record in refused)
    assert "published: 1, 2" in refused[0].reason
    assert "digits-1 under way" in refused[3].reason
    last = refused[4]
    assert last.source is not None
    assert (last.rollout, last.source.phase, "preparing" in last.reason) == ("digits-1", Phase.PREPARING, True)


async def test_a_start_that_is_repeated_is_answered_and_not_done_again(world: ControlPlane) -> None:
    first = await world.operations.start(SPEC, "ada", "r-1")
    await world.tick(4)
    again = await world.operations.start(SPEC, "ada", "r-1")
    assert (again.id, again.phase) == (first.id, Phase.PROGRESSING)
    assert len(await world.store.find()) == 1
    outcomes = [record.outcome for record in await records(world) if record.action == "start"]
    assert outcomes == [AuditOutcome.DONE, AuditOutcome.REPEATED]
    with pytest.raises(InvalidRequest, match="r-1"):
        await world.operations.start(RolloutSpec("digits", 2), "ada", "r-1")


async def test_a_verb_that_is_repeated_is_answered_also_when_the_state_has_moved_on(world: ControlPlane) -> None:
    rollout = await world.operations.start(SPEC, "ada")
    await world.tick(4)
    pause = Event(EventKind.PAUSE, "ada")
    assert (await world.operations.steer(rollout.id, pause, "r-2")).phase is Phase.PAUSED
    await world.operations.steer(rollout.id, Event(EventKind.RESUME, "ada"), "r-3")
    assert (await world.operations.steer(rollout.id, pause, "r-2")).phase is Phase.PROGRESSING
    with pytest.raises(InvalidRequest, match="r-2"):
        await world.operations.steer(rollout.id, Event(EventKind.ABORT, "ada"), "r-2")


async def test_a_request_that_asked_for_what_was_so_already_is_not_done_later(world: ControlPlane) -> None:
    rollout = await world.operations.start(SPEC, "ada")
    await world.tick(4)
    pause = Event(EventKind.PAUSE, "ada")
    await world.operations.steer(rollout.id, Event(EventKind.PAUSE, "bob"))
    assert (await world.operations.steer(rollout.id, pause, "r-1")).phase is Phase.PAUSED
    await world.operations.steer(rollout.id, Event(EventKind.RESUME, "bob"))
    for _ in range(2):
        assert (await world.operations.steer(rollout.id, pause, "r-1")).phase is Phase.PROGRESSING
    with pytest.raises(InvalidRequest, match="r-1"):
        await world.operations.steer(rollout.id, Event(EventKind.ABORT, "ada"), "r-1")


async def test_a_request_that_was_refused_may_be_made_again(world: ControlPlane) -> None:
    rollout = await world.operations.start(SPEC, "ada")
    pause = Event(EventKind.PAUSE, "ada")
    with pytest.raises(Conflict):
        await world.operations.steer(rollout.id, pause, "r-1")
    await world.tick(4)
    assert (await world.operations.steer(rollout.id, pause, "r-1")).phase is Phase.PAUSED


async def test_nothing_in_a_record_is_without_a_bound(world: ControlPlane) -> None:
    long = "m" * 1_000_000
    with pytest.raises(NotFound):
        await world.operations.start(RolloutSpec(long, 2), "ada")
    with pytest.raises(NotFound):
        await world.operations.steer(f"{long}-1", Event(EventKind.ABORT, "ada", long))
    refused = [record for record in await records(world) if record.outcome is AuditOutcome.REFUSED]
    assert len(refused) == 2
    for record in refused:
        assert len(encode_record(record)) < 10_000
        assert record.model.endswith("\N{HORIZONTAL ELLIPSIS}")
    assert refused[0].reason.endswith("\N{HORIZONTAL ELLIPSIS}")


@pytest.mark.parametrize(
    ("before", "verb", "phase"),
    [
        (EventKind.PAUSE, EventKind.PAUSE, Phase.PAUSED),
        (None, EventKind.RESUME, Phase.PROGRESSING),
        (EventKind.PROMOTE, EventKind.PROMOTE, Phase.PROMOTING),
        (EventKind.ABORT, EventKind.ABORT, Phase.ABORTING),
    ],
)
async def test_a_verb_that_asks_for_what_is_so_already_is_answered_with_the_state(
    world: ControlPlane, before: EventKind | None, verb: EventKind, phase: Phase
) -> None:
    rollout = await world.operations.start(SPEC, "ada")
    await world.tick(4)
    if before is not None:
        await world.operations.steer(rollout.id, Event(before, "ada"))
    generation = (await world.rollout(rollout.id)).generation
    answered = await world.operations.steer(rollout.id, Event(verb, "bob"))
    assert (answered.phase, answered.generation) == (phase, generation)
    last = (await records(world))[-1]
    assert (last.actor, last.outcome, last.target) == ("bob", AuditOutcome.REPEATED, None)


def test_every_verb_has_a_state_in_which_it_is_obeyed() -> None:
    from services.controller.operations import _OBEYED

    assert set(_OBEYED) == set(VERBS)


async def test_the_log_is_read_over_rest_in_pages_and_by_model_rollout_and_actor(world: ControlPlane) -> None:
    app = rest_app(world.operations, world.overview, world.insight, world.metrics)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://controller") as client:
        body = {"model": "digits", "version": 2, "actor": "ada", "request_id": "r-1"}
        assert (await client.post("/v1/rollouts", json=body)).status_code == 201
        assert (await client.post("/v1/rollouts", json=body)).json()["id"] == "digits-1"
        await client.post("/v1/rollouts/digits-1/abort", json={"actor": "bob", "reason": "wrong", "request_id": "r-2"})
        found = (await client.get("/v1/audit", params={"limit": 2})).json()
        assert [record["actor"] for record in found["audit"]] == ["bob", "ada"]
        older = (await client.get("/v1/audit", params={"before": found["more"]})).json()
        assert [record["action"] for record in older["audit"]] == ["start", "route"]
        assert older["more"] is None
        mine = (await client.get("/v1/audit", params={"actor": "bob", "rollout": "digits-1"})).json()["audit"]
        assert [(record["action"], record["outcome"], record["target"]["phase"]) for record in mine] == [
            ("abort", "done", "aborted")
        ]
        assert (await client.get("/v1/audit", params={"limit": 0})).status_code == 400
        rows = [audit_row(record) for record in [*found["audit"], *older["audit"]]]
        assert all(len(row) == len(AUDIT_COLUMNS) for row in rows)
        assert rows[0][1:7] == (
            *("bob", "abort", "digits-1", "done"),
            *("preparing, step 1, version 1/2, 0 %", "aborted, step 1, version 1/2, 0 %"),
        )
