"""Who did what, where people look for it: on the page of a rollout, and on a page of its own."""

import re
from collections.abc import AsyncIterator
from html import unescape

import httpx2
import pytest

from services.controller.dashboard import words
from services.controller.dashboard.audit_page import audit_lines
from services.core.rollouts.audit import AuditOutcome, Standing
from tests.fakes.audit_records import record_of
from tests.fakes.control_plane import ControlPlane, FakeRepository
from tests.fakes.dashboard import ATTACK, OWN, Tags, begin, browsing, token

pytestmark = pytest.mark.anyio
DONE, REFUSED = f"{words.mark('pass')} done", f"{words.mark('fail')} refused"


@pytest.fixture
async def world() -> AsyncIterator[ControlPlane]:
    async with ControlPlane(repository=FakeRepository(digits=[1], other=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2]
        await world.tick()
        yield world


@pytest.fixture
async def client(world: ControlPlane) -> AsyncIterator[httpx2.AsyncClient]:
    async with browsing(world) as client:
        yield client


def table(html: str, part: str) -> list[list[str]]:
    """Return the texts of the rows of a page's part, without the head."""
    body = re.search(rf'<div id="{part}" data-live>.*?<tbody[^>]*>(.*?)</tbody>', html, re.DOTALL)
    if body is None:
        return []
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in body[1].split("</tr>")]
    return [[" ".join(unescape(re.sub(r"<[^>]+>", " ", cell)).split()) for cell in row] for row in rows if row]


async def test_the_page_of_a_rollout_tells_who_did_what_and_what_was_refused(
    client: httpx2.AsyncClient, world: ControlPlane
) -> None:
    await begin(client, world)
    proof = await token(client, "/rollouts/digits-1/abort")
    form = {"form_token": proof, "actor": "grace", "reason": "not this one"}
    await client.post("/rollouts/digits-1/abort", data=form, headers=OWN)
    await client.post("/v1/rollouts/digits-1/promote", json={"actor": "eve", "reason": "mine"})
    page = (await client.get("/rollouts/digits-1")).text
    refused, route, aborted, *_, started = table(page, "audit")
    assert refused[1:5] == ["eve", "promote", REFUSED, "Aborting, step 1, 0 %"]
    assert "aborting" in refused[5], "it says why"
    assert route[1:5] == ["controller", "route", DONE, "version 1, 5 % to version 2 → version 1"]
    assert aborted[1:5] == ["grace", "abort", DONE, "Progressing, step 1, 5 % → Aborting, step 1, 0 %"]
    assert "not this one" in aborted[5]
    assert (started[1:3], started[4]) == (["ada", "start"], "Preparing, step 1, 0 %")
    assert 'href="/audit?rollout=digits-1"' in page
    assert table(page, "audit") == table((await client.get("/rollouts/digits-1/live")).text, "audit")
    assert any("Aborting" in row[1] for row in table(page, "history")), "the history of transitions is there as well"


async def test_a_long_trail_ends_with_the_way_to_the_rest(client: httpx2.AsyncClient, world: ControlPlane) -> None:
    await begin(client, world)
    for number in range(60):
        await world.store.note(record_of("resume", rollout="digits-1", actor=f"actor-{number}"))
    page = (await client.get("/rollouts/digits-1")).text
    shown = table(page, "audit")
    assert [row[1] for row in shown] == [f"actor-{number}" for number in range(59, 9, -1)]
    assert "The latest 50; <a" in page
    rest = (await client.get("/audit", params={"rollout": "digits-1"})).text
    older = re.search(r'id="older" href="([^"]+)"', rest)
    assert older is not None
    address = unescape(older[1])
    following = (await client.get(address)).text
    assert [row[1] for row in table(following, "log")][:10] == [f"actor-{number}" for number in range(9, -1, -1)]
    assert "data-events" not in following, "what is older does not move"
    assert "data-events" in rest


async def test_the_log_is_shown_for_a_model_a_rollout_or_an_actor(
    client: httpx2.AsyncClient, world: ControlPlane
) -> None:
    await begin(client, world)
    await client.post("/v1/rollouts", json={"model": "other", "version": 9, "actor": "eve"})
    await client.post("/v1/rollouts/digits-1/pause", json={"actor": "eve"})
    everything = table((await client.get("/audit")).text, "log")
    assert [row[1:5] for row in everything[:2]] == [
        ["eve", "pause", "digits-1", DONE],
        ["eve", "start", "other", REFUSED],
    ]
    assert everything[1][6].endswith("published: 1")
    of_other = [row for row in everything if row[3] == "other"]
    of_one = [row for row in everything if row[3] == "digits-1"]
    of_eve = [row for row in everything if row[1] == "eve"]
    for query, expected in (
        ({"model": "other"}, of_other),
        ({"rollout": "digits-1"}, of_one),
        ({"actor": "eve"}, of_eve),
        ({"actor": " eve ", "model": "digits", "rollout": ""}, [row for row in of_eve if row in of_one]),
    ):
        page = (await client.get("/audit", params=query)).text
        rows = table(page, "log")
        assert rows == expected, query
        live = re.search(r'data-live-from="([^"]+)"', page)
        assert live is not None
        assert table((await client.get(unescape(live[1]))).text, "log") == rows, query
        document = re.search(r'href="(/v1/audit[^"]*)"', page)
        assert document is not None
        assert len((await client.get(unescape(document[1]))).json()["audit"]) == len(rows)
    assert "Nothing here is on record" in (await client.get("/audit?actor=nobody")).text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"before": "soon"}, "before is &#39;soon&#39;"),
        ({"before": "-1"}, "expected the place"),
        ({"before": "9" * 30}, "expected the place"),
        ({"actor": "x" * 301}, "actor has 301 characters; expected at most 300"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused_with_words(
    client: httpx2.AsyncClient, query: dict[str, str], said: str
) -> None:
    for path in ("/audit", "/audit/live"):
        answer = await client.get(path, params=query)
        assert answer.status_code == 400
        assert said in answer.text


async def test_what_people_call_themselves_is_text_here_too(client: httpx2.AsyncClient, world: ControlPlane) -> None:
    await begin(client, world)
    await client.post("/v1/rollouts/digits-1/resume", json={"actor": ATTACK, "reason": ATTACK})
    await client.post("/v1/rollouts", json={"model": "no", "version": 1, "actor": ATTACK})
    asked = {"actor": ATTACK, "model": ATTACK}
    for path, query in (("/audit", {}), ("/rollouts/digits-1", {}), ("/audit", asked)):
        page = (await client.get(path, params=query)).text
        assert "&lt;script&gt;alert(1)" in page
        tags = Tags(page).found
        assert [tag for tag, _ in tags].count("script") == 1
        assert not [tag for tag, attributes in tags if tag == "img" or "onerror" in attributes]


async def test_a_refused_command_moves_the_pages_that_are_open(client: httpx2.AsyncClient, world: ControlPlane) -> None:
    await begin(client, world)
    await client.post("/v1/rollouts/digits-1/pause")
    world.per_tick = 0
    await world.tick()
    await world.events.look()
    with world.feed.subscribe("digits-1") as mine, world.feed.subscribe() as everything:
        await world.events.look()
        assert await mine.next(0.01) is None, "nothing is new"
        await client.post("/v1/rollouts/digits-1/abort", json={"actor": "eve", "request_id": ""})
        await client.post("/v1/rollouts/digits-1/pause", json={"actor": "eve"})
        await world.events.look()
        assert await mine.next(0.01) is not None
        await client.post("/v1/rollouts", json={"model": "no", "version": 1})
        while await everything.next(0.01) is not None:
            pass
        await world.events.look()
        told = await everything.next(0.01)
        assert told is not None
        assert told.kind == "models"


@pytest.mark.parametrize("live", ["/rollouts/digits-1/live", "/audit/live"])
async def test_what_was_rendered_in_the_same_second_is_not_shown_again_after_a_refusal(
    client: httpx2.AsyncClient, world: ControlPlane, live: str
) -> None:
    await begin(client, world)
    await client.post("/v1/rollouts/digits-1/abort", json={"actor": "grace"})
    await world.events.look()
    assert "mallory" not in (await client.get(live)).text
    await client.post("/v1/rollouts/digits-1/promote", json={"actor": "mallory"})
    await world.events.look()
    assert "mallory" in (await client.get(live)).text, "the clock stood still, and the page moved"


async def test_without_its_database_the_log_is_a_page_that_says_so(
    client: httpx2.AsyncClient, world: ControlPlane
) -> None:
    world.store.away = True
    answer = await client.get("/audit")
    assert answer.status_code == 503
    assert "the fake database is away" in answer.text


def test_a_record_of_nothing_in_particular_has_a_line() -> None:
    [pruned, repeated] = audit_lines(
        [
            record_of("prune", model="", target=None),
            record_of("pause", rollout="digits-1", outcome=AuditOutcome.REPEATED, target=Standing(1, None, 0)),
        ]
    )
    assert (pruned.model, pruned.rollout, pruned.change, pruned.outcome) == ("", "", words.NOTHING, "done")
    assert (repeated.kind, repeated.mark, repeated.change) == ("inconclusive", words.mark("inconclusive"), "version 1")
