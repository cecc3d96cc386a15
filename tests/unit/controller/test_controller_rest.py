import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from services.controller.api.rest import rest_app
from services.controller.api.rest_models import RolloutModel
from services.core.rollouts.rollout import Phase, Rollout
from services.triton.layout import RepositoryLayout
from tests.fakes.control_plane import ControlPlane, FakeRepository
from tests.fakes.store import FakeStore

pytestmark = pytest.mark.anyio

FAST = [{"weight_percent": 5, "duration_s": 3, "min_requests": 20}, {"weight_percent": 50, "duration_s": 3}]


@pytest.fixture
async def world() -> AsyncIterator[ControlPlane]:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2]
        yield world


@pytest.fixture
async def client(world: ControlPlane) -> AsyncIterator[httpx2.AsyncClient]:
    app = rest_app(world.operations, world.overview, world.insight, world.metrics)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://controller") as client:
        yield client


async def start(client: httpx2.AsyncClient, **fields: object) -> httpx2.Response:
    body = {"model": "digits", "version": 2, "steps": FAST, "actor": "ada"} | fields
    return await client.post("/v1/rollouts", json=body)


async def test_a_rollout_is_started_seen_and_told(client: httpx2.AsyncClient, world: ControlPlane) -> None:
    created = await start(client)
    assert created.status_code == 201
    assert created.json()["id"] == "digits-1"
    await world.tick(4)
    seen = (await client.get("/v1/rollouts/digits-1")).json()
    assert (seen["phase"], seen["weight_percent"], seen["step"], seen["steps"]) == ("progressing", 5, 1, 2)
    assert seen["verbs"] == ["pause", "promote", "abort"]
    await world.tick(60)
    lines = (await client.get("/v1/rollouts/digits-1/history")).json()["history"]
    begun = ["preparing", "warming", "progressing"]
    assert [line["target"] for line in lines] == [*begun, "progressing", "promoting", "promoted"]
    assert lines[0]["actor"] == "ada"
    assert lines[3]["verdict"]["outcome"] == "pass"
    assert lines[3]["judged"]["candidate"]["requests"] > 0
    assert all(line["reason"] for line in lines)
    assert (await client.get("/v1/rollouts", params={"active": True})).json() == {"rollouts": []}
    assert len((await client.get("/v1/rollouts", params={"model": "digits"})).json()["rollouts"]) == 1


async def test_every_verb_has_a_path(client: httpx2.AsyncClient, world: ControlPlane) -> None:
    await start(client)
    await world.tick(4)
    for verb, phase in (("pause", "paused"), ("resume", "progressing"), ("promote", "promoting")):
        answer = await client.post(f"/v1/rollouts/digits-1/{verb}", json={"actor": "ada", "reason": "I know"})
        assert (answer.status_code, answer.json()["phase"]) == (200, phase)
    refused = await client.post("/v1/rollouts/digits-1/abort")
    assert refused.status_code == 409
    assert "promoting" in refused.json()["error"]


async def test_a_verb_without_a_body_is_anonymous(client: httpx2.AsyncClient, world: ControlPlane) -> None:
    await start(client)
    await client.post("/v1/rollouts/digits-1/abort")
    assert (await world.rollout("digits-1")).phase is Phase.ABORTED
    assert (await world.store.history("digits-1"))[-1].actor == "anonymous"


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model": "letters"}, 404, "served models: digits"),
        ({"version": 9}, 404, "published: 1, 2"),
        ({"version": 1}, 400, "stable one already"),
        ({"versio": 2}, 400, "versio"),
        ({"steps": []}, 400, "steps"),
        ({"steps": [{"weight_percent": 100, "mirror_percent": 1}]}, 400, "1 to 99"),
        ({"steps": [{"weight_percent": 5, "weight": 5}]}, 400, "weight"),
        ({"analysis": {"max_p99_ratio": 0.5}}, 400, "max_p99_ratio"),
        ({"strategy": "guess"}, 400, "canary"),
        ({"strategy": "shadow", "steps": [{"weight_percent": 5}]}, 400, "shadow has [0]"),
        ({"strategy": "shadow", "steps": [{"weight_percent": 0}]}, 400, "needs a mirror_percent"),
        ({"steps": [{"weight_percent": 0, "mirror_percent": 5}]}, 400, "1 to 99"),
        ({"copies": {"floor_percent": 95}}, 400, "floor_percent"),
        ({"webhooks": [{"name": "a", "occasion": "event", "url": "http://[::1/x"}]}, 400, "http://[::1/x"),
        ({"actor": ""}, 400, "actor"),
        ({"model": "m" * 129}, 400, "at most 128 characters"),
        ({"copies": {"slice_key": "k" * 9000}}, 400, "slice_key"),
    ],
)
async def test_a_wrong_rollout_is_refused_with_words_and_not_started(
    client: httpx2.AsyncClient, world: ControlPlane, fields: dict[str, object], status: int, words: str
) -> None:
    refused = await start(client, **fields)
    assert refused.status_code == status
    assert words in refused.json()["error"]
    assert await world.store.find() == []


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "letters"},
        {"version": 9},
        {"version": 1},
        {"webhooks": [{"name": "a", "occasion": "event", "url": "http://169.254.169.254/"}]},
    ],
)
async def test_a_plan_is_refused_for_what_a_start_is_refused_for(
    client: httpx2.AsyncClient, fields: dict[str, object]
) -> None:
    refused = await start(client, **fields)
    asked = {"model": "digits", "version": 2, "steps": FAST} | fields
    planned = await client.post("/v1/plans", json=asked)
    assert planned.status_code in {400, 404}
    assert (planned.status_code, planned.json()) == (refused.status_code, refused.json())


async def test_a_plan_for_afterwards_is_made_while_a_rollout_is_under_way(client: httpx2.AsyncClient) -> None:
    await start(client)
    planned = await client.post("/v1/plans", json={"model": "digits", "version": 2, "steps": FAST})
    assert planned.status_code == 200


async def test_malformed_and_oversized_bodies_are_refused(client: httpx2.AsyncClient) -> None:
    json_type = {"content-type": "application/json"}
    for body in (b"{", b"[]", b"null", b"\xff"):
        assert (await client.post("/v1/rollouts", content=body, headers=json_type)).status_code == 400
    deep = b"[" * 100_000
    assert (await client.post("/v1/rollouts", content=deep, headers=json_type)).status_code == 400
    large = await client.post("/v1/rollouts", content=b" " * 2_000_000, headers=json_type)
    assert large.status_code == 413
    assert "1048576" in large.json()["error"]
    no_number = b'{"model": "digits", "version": 2, "max_step_duration_s": NaN}'
    assert (await client.post("/v1/rollouts", content=no_number, headers=json_type)).status_code == 400


def test_the_longest_name_of_a_model_is_the_repositorys(tmp_path: Path) -> None:
    names = ["m" * 128, "n" * 129]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").touch()
    assert RepositoryLayout(tmp_path).models() == names[:1]
    assert RolloutModel(model=names[0], version=2).model == names[0]


# JSON can name half of a pair of UTF-16, which no database and no answer can hold.
HALF = "\\ud800"
ASKED = '{"model": "digits", "version": 2'
HOOK = f'{ASKED}, "webhooks": [{{"name": "told", "occasion": "event", "url": "http://told/", "metadata": '
METRIC = f'{ASKED}, "metrics": [{{"name": "clicks", "at_most": 1, "query": '


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/rollouts", f'{{"model": "{HALF}", "version": 2}}'),
        ("/v1/rollouts", f'{ASKED}, "actor": "{HALF}"}}'),
        ("/v1/rollouts", f'{ASKED}, "request_id": "{HALF}"}}'),
        ("/v1/rollouts", f'{ASKED}, "{HALF}": 2}}'),
        ("/v1/rollouts", f'{ASKED}, "copies": {{"slice_key": "{HALF}"}}}}'),
        ("/v1/rollouts", f'{HOOK}{{"key": "{HALF}"}}}}]}}'),
        ("/v1/rollouts", f'{HOOK}{{"{HALF}": "value"}}}}]}}'),
        ("/v1/rollouts", f'{METRIC}"{HALF}"}}]}}'),
        ("/v1/plans", f'{{"model": "{HALF}", "version": 2}}'),
        ("/v1/rollouts/digits-1/abort", f'{{"reason": "{HALF}"}}'),
        ("/v1/rollouts/digits-1/abort", f'{{"actor": "{HALF}"}}'),
        ("/v1/rollouts/digits-1/abort", f'{{"request_id": "{HALF}"}}'),
    ],
    ids=[
        *("model", "actor", "request id", "name of a field", "slice", "value of metadata", "key of metadata", "query"),
        *("planned model", "reason", "actor of a verb", "request id of a verb"),
    ],
)
async def test_a_text_that_is_no_text_is_a_clients_mistake(
    client: httpx2.AsyncClient, world: ControlPlane, path: str, body: str
) -> None:
    await start(client)
    assert json.loads(body)
    refused = await client.post(path, content=body.encode(), headers={"content-type": "application/json"})
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]
    assert (await world.rollout("digits-1")).phase is Phase.PREPARING
    assert [rollout.id for rollout in await world.store.find()] == ["digits-1"]


async def test_a_second_rollout_is_refused_by_name(client: httpx2.AsyncClient) -> None:
    await start(client)
    refused = await start(client)
    assert refused.status_code == 409
    assert "digits-1" in refused.json()["error"]


@pytest.mark.parametrize("path", ["/v1/rollouts/no-1", "/v1/rollouts/no-1/history", "/v1/models/no", "/v2", "/v1/"])
async def test_what_is_not_there_is_404_with_words(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]


async def test_models_and_routes_show_what_is_published_loaded_and_routed(
    client: httpx2.AsyncClient, world: ControlPlane
) -> None:
    await start(client)
    await world.tick(5)
    model = (await client.get("/v1/models/digits")).json()
    assert (model["published"], model["loaded"], model["stable"], model["candidate"]) == ([1, 2], [1, 2], 1, 2)
    assert (model["weight_percent"], model["rollout"], model["problem"]) == (5, "digits-1", None)
    assert [each["model"] for each in (await client.get("/v1/models")).json()["models"]] == ["digits"]
    routes = (await client.get("/v1/routes")).json()
    assert routes["routes"][0]["versions"] == [1, 2]
    assert routes["workers"] == ["worker-1", "worker-2"]
    assert routes["lagging"] == []


async def test_readiness_says_what_is_wrong_and_liveness_does_not_care(
    client: httpx2.AsyncClient, world: ControlPlane
) -> None:
    assert (await client.get("/readyz")).json() == {"ready": True, "store": "ok", "triton": "ok", "repository": "ok"}
    world.store.away = True
    failed = await start(client)
    assert failed.status_code == 503
    ready = await client.get("/readyz")
    assert ready.status_code == 503
    assert "away" in ready.json()["store"]
    assert (await client.get("/healthz")).status_code == 200


class BrokenStore(FakeStore):
    async def get(self, rollout_id: str) -> Rollout:
        raise RuntimeError("secret words of a bug")


async def test_an_unknown_error_answers_with_an_id_and_the_log_has_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    async with ControlPlane(BrokenStore()) as world:
        app = rest_app(world.operations, world.overview, world.insight, world.metrics)
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://controller") as client:
            answer = await client.get("/v1/rollouts/digits-1")
    assert answer.status_code == 500
    incident = answer.json()["error"].split()[-1]
    assert "secret" not in answer.text
    assert incident in caplog.text
    assert "secret words" in caplog.text


async def test_metrics_name_phase_weight_and_decisions(client: httpx2.AsyncClient, world: ControlPlane) -> None:
    await start(client)
    await world.tick(4)
    text = (await client.get("/metrics")).text
    assert 'penstock_rollout_phase{model="digits",phase="progressing",rollout="digits-1"} 1.0' in text
    assert 'penstock_route_weight_percent{model="digits",role="candidate",version="2"} 5.0' in text
    assert 'penstock_rollout_decisions_total{event="loaded",model="digits"} 1.0' in text
    assert "penstock_controller_gateway_workers 2.0" in text
    assert "penstock_controller_triton_up 1.0" in text


async def test_the_api_describes_itself(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    paths = document["paths"]
    assert {"/v1/rollouts", "/v1/rollouts/{rollout_id}/promote", "/v1/models", "/v1/routes"} <= paths.keys()
    page = await client.get("/docs")
    assert page.status_code == 200
    assert not re.findall(r"<script|<link|https?://", page.text), "it needs nothing from elsewhere"
    assert all(f"{method.upper()} {path}<" in page.text for path, methods in paths.items() for method in methods)
    assert (await client.get("/")).status_code == 200
