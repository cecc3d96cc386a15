"""The pages as a browser without JavaScript gets them."""

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx2
import pytest

from services.controller.dashboard import start_form
from services.controller.dashboard.form_token import COOKIE
from services.core.rollouts.history import HistoryEntry
from services.core.rollouts.rollout import Phase
from services.core.rollouts.rollout_spec import STEPS_OF
from tests.fakes.control_plane import ControlPlane, FakeRepository
from tests.fakes.dashboard import ATTACK, BROWSER, FAST, OWN, Tags, begin, browsing, token

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[ControlPlane]:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2]
        await world.tick()
        yield world


@pytest.fixture
async def client(world: ControlPlane) -> AsyncIterator[httpx2.AsyncClient]:
    async with browsing(world) as client:
        yield client


async def test_the_root_is_a_page_for_browsers_and_json_for_everybody_else(client: httpx2.AsyncClient) -> None:
    page = await client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for accept in ("*/*", "application/json", "text/html;q=0.5, application/json", "text/html;q=0", ""):
        answer = await client.get("/", headers={"accept": accept})
        assert answer.json()["service"] == "penstock controller"
        assert "accept" in answer.headers["vary"]


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/models/digits", "/rollouts/digits-1", "/rollouts/digits-1/abort", "/nothing", "/rollouts/digits-9"),
        *("/audit", "/audit?rollout=digits-1", "/audit?before=x"),
    ],
)
async def test_no_page_needs_anything_from_elsewhere_or_runs_anything_inline(
    client: httpx2.AsyncClient, world: ControlPlane, path: str
) -> None:
    await begin(client, world)
    page = await client.get(path)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "same-origin", "no-referrer would make the origin of forms 'null'"
    for tag, attributes in Tags(page.text).found:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert tag != "style"
        for name in ("src", "href", "action"):
            address = attributes.get(name) or "/"
            assert address.startswith(("/", "#")), address
            assert not address.startswith("//")
        if tag in ("link", "script"):
            asset = await client.get(attributes.get("href") or attributes.get("src") or "")
            assert asset.status_code == 200
            assert b"http://" not in asset.content.replace(b"http://www.w3.org/2000/svg", b"")
            assert b"https://" not in asset.content


async def test_what_people_and_models_call_themselves_is_text_and_nothing_else(client: httpx2.AsyncClient) -> None:
    name = "<b>&'\"m"
    async with ControlPlane(repository=FakeRepository(**{name: [1]})) as world:
        await world.serve()
        world.repository.published[name] = [1, 2]
        await world.tick()
        transport = httpx2.ASGITransport(world.app(), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://controller", headers=BROWSER) as other:
            body = {"model": name, "version": 2, "steps": FAST, "actor": ATTACK}
            rollout = (await other.post("/v1/rollouts", json=body)).json()["id"]
            await world.tick(4)
            path = f"/v1/rollouts/{quote(rollout, safe='')}"
            assert (await other.post(f"{path}/pause", json={"actor": ATTACK, "reason": ATTACK})).status_code == 200
            await world.tick()
            for page in ("/", f"/models/{quote(name, safe='')}", path.removeprefix("/v1")):
                answer = await other.get(page)
                assert answer.status_code == 200, page
                tags = Tags(answer.text).found
                assert "<script>alert" not in answer.text
                assert [tag for tag, _ in tags].count("script") == 1
                assert not [tag for tag, attributes in tags if tag == "img" or "onerror" in attributes]
            assert "&lt;script&gt;alert(1)" in answer.text


async def test_the_page_of_a_rollout_shows_numbers_bounds_checks_weights_and_who_did_what(
    client: httpx2.AsyncClient, world: ControlPlane
) -> None:
    world.workers[0].error[2] = world.workers[1].error[2] = 0.0
    await begin(client, world)
    await world.tick(8)
    await world.events.look()
    await world.tick(3)
    await world.events.look()
    await world.tick()
    await world.events.look()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (await client.get("/rollouts/digits-1")).text))
    for words in (
        "Progressing",
        "Desired weight 50 %",
        "All 2 gateway workers serve with the present route",
        "p50 latency",
        "p99 latency",
        "Bad answers",
        "95 % confidence",
        "Enough answers",
        "Numbers of p99 latency",
        "Course of this step",
        "version 2 is loaded and ready",
        "ada",
        "UTC",
    ):
        assert words in text, words
    seen = (await world.rollout("digits-1")).evidence
    share = 100 * seen.candidate.requests / (seen.candidate.requests + seen.stable.requests)
    assert f"Actual weight {share:.1f} %" in text
    live = await client.get("/rollouts/digits-1/live")
    parts = {attributes["id"] for _, attributes in Tags(live.text).found if "data-live" in attributes}
    assert {"state", "timing", "actions", "progress", "numbers", "checks", "course", "history"} <= parts


async def test_only_the_verbs_that_are_allowed_now_have_a_button(
    client: httpx2.AsyncClient, world: ControlPlane
) -> None:
    await begin(client, world)
    for verb, buttons in (("pause", {"resume", "promote", "abort"}), ("abort", set())):
        await client.post(f"/v1/rollouts/digits-1/{verb}")
        page = await client.get("/rollouts/digits-1")
        assert set(re.findall(r'id="verb-(\w+)"', page.text)) == buttons
    gone = await client.get("/rollouts/digits-1/promote")
    assert gone.status_code == 409
    assert "not possible there any more" in gone.text


async def test_a_verb_is_asked_about_and_then_done_with_name_and_reason(
    client: httpx2.AsyncClient, world: ControlPlane
) -> None:
    await begin(client, world)
    proof = await token(client, "/rollouts/digits-1/promote")
    assert (await world.rollout("digits-1")).phase is Phase.PROGRESSING, "asking does nothing"
    form = {"form_token": proof, "actor": "grace", "reason": "measured by hand"}
    done = await client.post("/rollouts/digits-1/promote", data=form, headers=OWN)
    assert (done.status_code, done.headers["location"]) == (303, "/rollouts/digits-1")
    last = (await world.store.history("digits-1"))[-1]
    assert (last.actor, last.target) == ("grace", Phase.PROMOTING)
    assert "measured by hand" in last.reason
    late = await client.post("/rollouts/digits-1/abort", data=form, headers=OWN)
    assert late.status_code == 409
    assert "promoting" in late.text


@pytest.mark.parametrize("missing", ["actor", "reason"])
async def test_nothing_is_done_without_a_name_and_a_reason(
    client: httpx2.AsyncClient, world: ControlPlane, missing: str
) -> None:
    await begin(client, world)
    form = {"form_token": await token(client, "/rollouts/digits-1/abort"), "actor": "ada", "reason": "because"}
    refused = await client.post("/rollouts/digits-1/abort", data=form | {missing: "  "}, headers=OWN)
    assert refused.status_code == 400
    assert f'id="{missing}-error"' in refused.text
    assert 'value="ada"' in refused.text or missing == "actor", "what was filled in stays"
    assert (await world.rollout("digits-1")).phase is Phase.PROGRESSING


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example", "sec-fetch-site": "cross-site"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "same-site", "origin": "http://controller"},
        {"origin": "http://controller:81", "sec-fetch-site": "same-origin"},
        {"origin": "http://[", "sec-fetch-site": "same-origin"},
        {},
    ],
    ids=["cross-site", "foreign origin", "null origin", "same site", "another port", "no origin", "nothing said"],
)
async def test_a_form_from_anywhere_else_changes_nothing(
    client: httpx2.AsyncClient, world: ControlPlane, headers: dict[str, str]
) -> None:
    await begin(client, world)
    form = {"form_token": await token(client, "/rollouts/digits-1/abort"), "actor": "eve", "reason": "fun"}
    refused = await client.post("/rollouts/digits-1/abort", data=form, headers=headers)
    assert refused.status_code == 403
    assert (await world.rollout("digits-1")).phase is Phase.PROGRESSING


@pytest.mark.parametrize("proof", ["", "wrong", "x" * 43])
async def test_a_form_without_its_browsers_token_changes_nothing(
    client: httpx2.AsyncClient, world: ControlPlane, proof: str
) -> None:
    await begin(client, world)
    await token(client, "/rollouts/digits-1/abort")
    form = {"form_token": proof, "actor": "eve", "reason": "fun"}
    refused = await client.post("/rollouts/digits-1/abort", data=form, headers=OWN)
    assert refused.status_code == 403
    assert "Go back" in refused.text
    client.cookies.clear()
    both_empty = await client.post("/rollouts/digits-1/abort", data={**form, "form_token": ""}, headers=OWN)
    assert both_empty.status_code == 403
    assert (await world.rollout("digits-1")).phase is Phase.PROGRESSING


async def test_the_token_is_kept_by_the_browser_where_no_page_can_read_it(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/models/digits")
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith(COOKIE)
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    first = await token(client, "/models/digits")
    assert await token(client, "/models/digits") == first, "two open pages do not spoil each other's forms"


@pytest.mark.parametrize("path", ["/v1/rollouts/digits-1/abort", "/v1/rollouts"])
async def test_a_foreign_page_cannot_use_the_api_of_a_persons_browser(
    client: httpx2.AsyncClient, world: ControlPlane, path: str
) -> None:
    await begin(client, world)
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "http://["}):
        assert (await client.post(path, headers=headers)).status_code == 403
    assert (await world.rollout("digits-1")).phase is Phase.PROGRESSING
    assert (await client.get("/v1/rollouts", headers={"sec-fetch-site": "cross-site"})).status_code == 200


async def test_a_body_that_is_no_form_is_refused_with_words(client: httpx2.AsyncClient, world: ControlPlane) -> None:
    await begin(client, world)
    path = "/rollouts/digits-1/abort"
    form_type = {"content-type": "application/x-www-form-urlencoded"}
    assert (await client.post(path, json={}, headers=OWN)).status_code == 415
    for body in (b"a=%ff", b"\xff", b"&".join(b"a%d=1" % n for n in range(500)), b"a=" + b"x" * 5000):
        assert (await client.post(path, content=body, headers=OWN | form_type)).status_code == 400
    assert (await client.post(path, content=b"a=" + b"x" * 2_000_000, headers=OWN | form_type)).status_code == 413


async def started(client: httpx2.AsyncClient, **changes: str) -> httpx2.Response:
    page = await client.get("/models/digits")
    fields = {
        attributes["name"] or "": attributes.get("value") or ""
        for tag, attributes in Tags(page.text).found
        if tag == "input"
    }
    return await client.post(
        "/models/digits",
        data=fields | {"version": "2", "strategy": "canary", "on_inconclusive": "abort", "actor": "ada"} | changes,
        headers=OWN,
    )


@pytest.mark.parametrize("strategy", ["blue-green", "shadow"])
async def test_another_strategy_has_its_own_steps_where_nobody_touched_them(
    client: httpx2.AsyncClient, world: ControlPlane, strategy: str
) -> None:
    assert (await started(client, strategy=strategy)).status_code == 303
    rollout = await world.rollout("digits-1")
    assert rollout.spec.strategy.value == strategy
    assert rollout.spec.steps == STEPS_OF[rollout.spec.strategy]


async def test_the_form_as_it_is_starts_a_rollout_with_the_apis_defaults(
    client: httpx2.AsyncClient, world: ControlPlane
) -> None:
    done = await started(client)
    assert (done.status_code, done.headers.get("location")) == (303, "/rollouts/digits-1"), done.text
    mine = (await world.rollout("digits-1")).spec
    await client.post("/v1/rollouts/digits-1/abort")
    await world.tick(20)
    await client.post("/v1/rollouts", json={"model": "digits", "version": 2})
    assert mine == (await world.rollout("digits-2")).spec


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"version": "7"}, "version", "published: 1, 2"),
        ({"version": ""}, "version", "choose a version"),
        ({"step-0-weight_percent": "100"}, "step-0-mirror_percent", "needs a mirror"),
        ({"step-1-min_requests": "many"}, "step-1-min_requests", "whole number"),
        ({"step-1-duration_s": ""}, "step-1-duration_s", "expected a number"),
        ({"step-1-weight_percent": "5"}, "steps", "higher than the one before"),
        ({f"step-{row}-{key}": "" for row in range(6) for key in start_form.STEP_FIELDS},
         "steps", "at least one step"),
        ({"analysis.max_p99_ratio": "0.5"}, "analysis.max_p99_ratio", "from 1 to"),
        ({"analysis.max_error_increase": ""}, "analysis.max_error_increase", "expected a number"),
        ({"analysis.max_error_increase": "nan"}, "analysis.max_error_increase", "expected a number"),
        ({"max_step_duration_s": "0"}, "max_step_duration_s", "from 1 to"),
        ({"on_inconclusive": "maybe"}, "on_inconclusive", "abort"),
        ({"actor": " "}, "actor", "say who you are"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_beside_its_field_and_what_was_typed_stays(
    client: httpx2.AsyncClient, world: ControlPlane, changes: dict[str, str], place: str, words: str
) -> None:
    refused = await started(client, **{"step-2-min_requests": "321"} | changes)
    assert refused.status_code in (400, 404)
    error = re.search(rf'<p class="error" id="{re.escape(place)}-error">(.*?)</p>', refused.text)
    assert error is not None, re.findall(r'class="error" id="([^"]+)"', refused.text)
    assert words in error[1]
    if place != "steps":
        assert f'aria-describedby="{place}-error"' in refused.text or f'{place}-hint {place}-error"' in refused.text
    if "step-2-min_requests" not in changes:
        assert 'value="321"' in refused.text
    assert await world.store.find() == []


async def test_a_model_with_a_rollout_says_so_instead_of_a_form(
    client: httpx2.AsyncClient, world: ControlPlane
) -> None:
    await begin(client, world)
    page = await client.get("/models/digits")
    assert "Rollout digits-1 is under way" in page.text
    assert 'name="version"' not in page.text
    assert "candidate at 5 %" in page.text


async def test_what_is_not_there_is_a_page_for_browsers(client: httpx2.AsyncClient) -> None:
    for path in ("/models/no", "/rollouts/no-1", "/rollouts/no-1/abort", "/nowhere", "/assets/../pages.py"):
        answer = await client.get(path)
        assert answer.status_code == 404
        assert "This did not work" in answer.text
    assert "error" in (await client.get("/v1/models/no")).json()
    assert "error" in (await client.get("/nowhere", headers={"accept": "*/*"})).json()


async def test_an_absent_database_and_triton_are_said_on_the_first_page(
    client: httpx2.AsyncClient, world: ControlPlane
) -> None:
    await client.get("/")
    world.server.away = True
    await world.tick()
    await world.events.look()
    page = await client.get("/live")
    assert "Something is away" in page.text
    assert "the fake Triton is away" in page.text


async def test_a_change_is_rendered_once_however_many_look_on(client: httpx2.AsyncClient, world: ControlPlane) -> None:
    await begin(client, world)
    await world.tick(6)  # into the second step, which lasts
    reads = []
    read = world.operations.history

    async def counted(rollout_id: str) -> list[HistoryEntry]:
        reads.append(rollout_id)
        return await read(rollout_id)

    world.operations.history = counted  # type: ignore[method-assign]
    for _ in range(3):
        await world.tick()
        for _ in range(20):
            assert (await client.get("/rollouts/digits-1/live")).status_code == 200
    assert len(reads) == 1, "the history is read again only after a change of phase or step"


async def test_what_a_rollout_waits_for_is_on_its_page(client: httpx2.AsyncClient, world: ControlPlane) -> None:
    world.listeners.answers = {"board": 403}
    hooks = [{"name": "board", "occasion": "confirm-rollout", "url": "http://board/x"}]
    body = {"model": "digits", "version": 2, "steps": FAST, "actor": "ada", "webhooks": hooks}
    started = await client.post("/v1/rollouts", json=body)
    await world.tick(4)
    page = await client.get(f"/rollouts/{started.json()['id']}")
    assert "<b>Waits for</b> webhook board: http://board/x answered 403: not yet" in page.text


async def test_what_webhooks_were_not_told_is_on_its_page(client: httpx2.AsyncClient, world: ControlPlane) -> None:
    world.listeners.answers = {"chat": 500}
    hooks = [{"name": "chat", "occasion": "event", "url": "http://chat/x", "retries": 0}]
    body = {"model": "digits", "version": 2, "steps": FAST, "actor": "ada", "webhooks": hooks}
    started = await client.post("/v1/rollouts", json=body)
    await world.tick(2)
    page = await client.get(f"/rollouts/{started.json()['id']}")
    assert "Webhook chat was not told of" in page.text
    assert "given up; failed attempts: 1; http://chat/x answered 500" in page.text
