"""Server-sent events, from the loop to the client."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from services.core.rollouts.event import Event, EventKind
from services.core.rollouts.rollout_spec import RolloutSpec, Step
from tests.fakes.control_plane import ControlPlane, FakeRepository

pytestmark = pytest.mark.anyio
SPEC = RolloutSpec("digits", 2, steps=(Step(5, 300, 20), Step(50, 300, 20)))


@pytest.fixture
async def world() -> AsyncIterator[ControlPlane]:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2]
        yield world


async def tick(world: ControlPlane, ticks: int = 1) -> None:
    for _ in range(ticks):
        await world.tick()
        await world.events.look()


def read(body: bytes) -> list[tuple[str, str, Any]]:
    """Return (id, event, data) of every event in a stream."""
    events = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            events.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return events


class Follower:
    """A client that reads a stream until it ends.

    Args:
        world: The controller.
        path: The stream.
        last_event_id: What it saw last.
    """

    def __init__(self, world: ControlPlane, path: str, last_event_id: str = "") -> None:
        self._app = world.app()
        self._headers = [(b"host", b"controller"), (b"last-event-id", last_event_id.encode())]
        self._path = path
        self.status = 0
        self.body = b""
        self.gone = asyncio.Event()
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.body += message.get("body", b"")

    def run(self) -> asyncio.Task[None]:
        scope = {
            "type": "http",
            "method": "GET",
            "path": self._path,
            "raw_path": self._path.encode(),
            "query_string": b"",
            "headers": self._headers,
            "http_version": "1.1",
            "scheme": "http",
            "root_path": "",
            "server": ("controller", 80),
        }
        return asyncio.create_task(self._app(scope, self.receive, self.send))


async def test_a_rollout_is_followed_from_its_present_state_to_its_end(world: ControlPlane) -> None:
    rollout = await world.operations.start(SPEC, "ada")
    await tick(world, 5)
    follower = Follower(world, f"/v1/rollouts/{rollout.id}/events")
    running = follower.run()
    await asyncio.sleep(0.05)
    await tick(world, 2)
    await world.operations.steer(rollout.id, Event(EventKind.ABORT, "ada", "enough"))
    await tick(world, 30)
    await asyncio.wait_for(running, 5.0)
    events = read(follower.body)
    assert [kind for _, kind, _ in events] == ["rollout"] * len(events)
    phases = [data["phase"] for _, _, data in events]
    assert phases[0] == "progressing"
    assert phases[-1] == "aborted"
    assert "aborting" in phases
    requests = [data["evidence"]["candidate"]["requests"] for _, _, data in events]
    assert requests == sorted(requests)
    assert events[0][2]["serving"] == {"workers": 2, "acknowledged": 2, "lagging": []}
    assert world.feed.subscribers == 0
    again = Follower(world, f"/v1/rollouts/{rollout.id}/events", events[-1][0])
    await asyncio.wait_for(again.run(), 5.0)
    assert (again.status, again.body) == (204, b""), "a browser that comes back after the end is told not to"
    late = Follower(world, f"/v1/rollouts/{rollout.id}/events")
    await asyncio.wait_for(late.run(), 5.0)
    assert [data["phase"] for _, _, data in read(late.body)] == ["aborted"], "it is told how it ended, and no more"


async def test_a_client_that_comes_back_gets_what_it_missed(world: ControlPlane) -> None:
    rollout = await world.operations.start(SPEC, "ada")
    await tick(world, 4)
    seen = f"{world.feed.epoch}-{world.feed.last}"
    await tick(world, 3)
    follower = Follower(world, f"/v1/rollouts/{rollout.id}/events", seen)
    running = follower.run()
    await asyncio.sleep(0.05)
    follower.gone.set()
    await asyncio.wait_for(running, 5.0)
    numbers = [int(event_id.rpartition("-")[2]) for event_id, _, _ in read(follower.body)]
    first = int(seen.rpartition("-")[2]) + 1
    assert numbers == list(range(first, first + 3))


async def test_after_a_restart_a_client_begins_with_the_present_state(world: ControlPlane) -> None:
    rollout = await world.operations.start(SPEC, "ada")
    await tick(world, 6)
    seen = f"{world.feed.epoch}-{world.feed.last}"
    await world.restart()
    await tick(world, 2)
    follower = Follower(world, f"/v1/rollouts/{rollout.id}/events", seen)
    running = follower.run()
    await asyncio.sleep(0.05)
    follower.gone.set()
    await asyncio.wait_for(running, 5.0)
    [(event_id, _, data)] = read(follower.body)
    assert event_id.startswith("start2-")
    assert data["phase"] == "progressing"


async def test_everything_begins_with_all_models_and_rollouts_and_tells_what_changes(world: ControlPlane) -> None:
    rollout = await world.operations.start(SPEC, "ada")
    await tick(world, 4)
    follower = Follower(world, "/v1/events")
    running = follower.run()
    await asyncio.sleep(0.05)
    world.server.away = True
    await tick(world)
    await asyncio.sleep(0.05)
    world.feed.close()
    await asyncio.wait_for(running, 5.0)
    events = read(follower.body)
    assert [kind for _, kind, _ in events[:2]] == ["models", "rollout"]
    assert events[0][2]["models"][0]["model"] == "digits"
    assert events[1][2]["id"] == rollout.id
    told = [data for _, kind, data in events[2:] if kind == "models"]
    assert "away" in told[0]["readiness"]["triton"]


async def test_one_subscriber_too_many_is_refused_and_a_rollout_that_is_not_there_too(world: ControlPlane) -> None:
    transport = httpx2.ASGITransport(world.app(), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://controller") as client:
        absent = await client.get("/v1/rollouts/no-1/events")
        assert absent.status_code == 404
        assert world.feed.subscribers == 0
        places = [world.feed.subscribe() for _ in range(64)]
        refused = await client.get("/v1/events")
        assert refused.status_code == 503
        assert "64 subscribers" in refused.json()["error"]
        document = (await client.get("/openapi.json")).json()
        assert "/v1/events" in document["paths"]
    assert len(places) == 64


async def test_nothing_new_is_not_told(world: ControlPlane) -> None:
    await tick(world, 2)
    before = world.feed.last
    await world.events.look()
    await world.events.look()
    assert world.feed.last == before


async def test_an_end_that_the_store_cannot_tell_yet_is_told_later(world: ControlPlane) -> None:
    rollout = await world.operations.start(SPEC, "ada")
    await tick(world, 4)
    await world.operations.steer(rollout.id, Event(EventKind.ABORT, "ada", "enough"))
    await world.tick(30)
    watching = asyncio.create_task(world.events.run())
    world.store.away = True
    await asyncio.sleep(0.01)
    assert not world.feed.has_ended(rollout.id)
    world.store.away = False
    await world.tick()
    await asyncio.sleep(0.05)
    assert world.feed.has_ended(rollout.id)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_rollout_that_began_and_ended_between_two_looks_is_followed_to_its_end(world: ControlPlane) -> None:
    await tick(world)
    rollout = await world.operations.start(SPEC, "ada")
    first, second = (Follower(world, f"/v1/rollouts/{rollout.id}/events") for _ in range(2))
    running, left = first.run(), second.run()
    await asyncio.sleep(0.05)
    second.gone.set()
    await asyncio.wait_for(left, 5.0)
    await world.operations.steer(rollout.id, Event(EventKind.ABORT, "ada", "enough"))
    await world.tick(30)
    await world.events.look()
    await asyncio.wait_for(running, 5.0)
    assert [data["phase"] for _, _, data in read(first.body)] == ["preparing", "aborted"]
    before = world.feed.last
    await tick(world)
    assert world.feed.last == before, "the end is told once"
    again = Follower(world, f"/v1/rollouts/{rollout.id}/events", read(second.body)[-1][0])
    await asyncio.wait_for(again.run(), 5.0)
    assert [data["phase"] for _, _, data in read(again.body)] == ["aborted"], "who was away meanwhile is told it too"


async def test_who_comes_back_to_a_rollout_that_ended_unseen_is_told_its_end_and_then_to_stay_away(
    world: ControlPlane,
) -> None:
    await tick(world)
    rollout = await world.operations.start(SPEC, "ada")
    follower = Follower(world, f"/v1/rollouts/{rollout.id}/events")
    running = follower.run()
    await asyncio.sleep(0.05)
    follower.gone.set()
    await asyncio.wait_for(running, 5.0)
    await world.operations.steer(rollout.id, Event(EventKind.ABORT, "ada", "enough"))
    await tick(world, 30)
    assert not world.feed.has_ended(rollout.id), "nobody followed it, and no look has shown it"
    again = Follower(world, f"/v1/rollouts/{rollout.id}/events", read(follower.body)[-1][0])
    running = again.run()
    await asyncio.sleep(0.05)
    await tick(world)
    await asyncio.wait_for(running, 5.0)
    [(event_id, _, data)] = read(again.body)
    assert data["phase"] == "aborted"
    late = Follower(world, f"/v1/rollouts/{rollout.id}/events", event_id)
    await asyncio.wait_for(late.run(), 5.0)
    assert late.status == 204


async def test_streams_end_with_the_watch(world: ControlPlane) -> None:
    watching = asyncio.create_task(world.events.run())
    follower = Follower(world, "/v1/events")
    running = follower.run()
    await asyncio.sleep(0.05)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await asyncio.wait_for(running, 5.0)
    assert follower.status == 200


async def test_a_mistake_in_what_is_told_takes_nothing_else_down(
    world: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    models = world.overview.models

    def broken() -> list[dict[str, Any]]:
        raise RuntimeError("a bug")

    world.overview.models = broken  # type: ignore[method-assign]
    watching = asyncio.create_task(world.events.run())
    await world.tick()
    await asyncio.sleep(0.01)
    assert "a tick was not told" in caplog.text
    world.overview.models = models  # type: ignore[method-assign]
    before = world.feed.last
    await world.tick()
    await asyncio.sleep(0.01)
    assert world.feed.last > before
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
