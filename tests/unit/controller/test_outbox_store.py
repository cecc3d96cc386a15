"""What every store promises of what webhooks are to be told; the fake is held to it too."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from loadtest.postgres import Postgres
from services.controller.election.leadership import NotLeading
from services.controller.storage.schema import OUTBOX
from services.controller.storage.store import DueQuery, Store
from services.controller.webhooks.delivery import MAX_AGE_S, MOST_GIVEN_UP, MOST_WAITING, Delivery, undelivered_words
from services.core.errors import Conflict
from services.core.rollouts.history import HistoryEntry, beginning
from services.core.rollouts.rollout import Phase, Rollout, new_rollout
from services.core.rollouts.rollout_spec import RolloutSpec, Step
from services.core.rollouts.webhook import Occasion, Webhook
from tests.fakes.audit_records import record_of
from tests.fakes.opened_store import OpenedStore, sqlite_url
from tests.fakes.store import FakeStore

pytestmark = pytest.mark.anyio
AT = 1000.0
SQL = ["sqlite", "postgresql"]


def url_of(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if kind == "sqlite":
        return sqlite_url(tmp_path)
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.create()


@pytest.fixture(params=["fake", *SQL])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "fake":
        yield FakeStore(100)
        return
    opened = OpenedStore(url_of(request.param, request, tmp_path))
    await opened.lead_anew(100)
    yield opened
    await opened.close()


@pytest.fixture(params=SQL)
async def sql_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenedStore]:
    opened = OpenedStore(url_of(request.param, request, tmp_path))
    await opened.lead_anew(100)
    yield opened
    await opened.close()


def hook(name: str, occasion: Occasion = Occasion.EVENT, retries: int = 1) -> Webhook:
    return Webhook(name, occasion, f"https://me:secret@{name}.example.org:8443/x", retries=retries)


async def begun(store: Store, *webhooks: Webhook, model: str = "digits") -> Rollout:
    rollout = new_rollout(RolloutSpec(model, 2, steps=(Step(5), Step(50)), webhooks=webhooks), 1, AT)
    return await store.create(rollout, beginning(rollout, "ada"), record_of(model=model))


async def changed(store: Store, rollout: Rollout, phase: Phase) -> Rollout:
    line = HistoryEntry(AT + 1, rollout.phase, phase, 0, 0, "loaded", "controller", "because")
    return await store.save(replace(rollout, phase=phase), line)


async def due(store: Store, now: float = AT + 10, limit: int = 100, **left_out: frozenset[object]) -> list[Delivery]:
    return list((await store.due(DueQuery(now, limit, **left_out))).deliveries)  # type: ignore[arg-type]


def told(deliveries: list[Delivery]) -> list[tuple[str, str]]:
    return [(each.webhook.name, each.said["phase"]) for each in deliveries]


async def test_what_is_told_is_stored_with_the_change_and_comes_back_as_it_went_in(store: Store) -> None:
    webhook = replace(hook("chat"), metadata={"channel": "ops"}, timeout_s=3.0)
    rollout = await begun(store, webhook, hook("board", Occasion.CONFIRM_PROMOTION))
    [delivery] = await due(store)
    assert (delivery.id, delivery.rollout, delivery.webhook) == ("digits-1/chat/g1", rollout.id, webhook)
    assert delivery.destination == "chat.example.org:8443", "no login is stored beside it"
    assert delivery.said["delivery"] == delivery.id
    assert (delivery.said["event"], delivery.said["actor"], delivery.said["rollout"]) == ("start", "ada", rollout.id)
    assert (delivery.written_at, delivery.due_at, delivery.attempts) == (AT, AT, 0)


async def test_a_change_that_is_not_stored_is_not_told(store: Store) -> None:
    rollout = await begun(store, hook("chat"))
    await changed(store, rollout, Phase.WARMING)
    with pytest.raises(Conflict):
        await changed(store, rollout, Phase.FAILED)
    await store.save(replace(rollout, generation=2), None)
    [first] = await due(store)
    await store.delivered(first)
    assert told(await due(store)) == [("chat", "warming")]
    assert (await store.due(DueQuery(AT + 10, 100))).waiting == 1


async def test_each_line_is_told_in_order_and_the_end_only_at_the_end(store: Store) -> None:
    rollout = await begun(store, hook("chat"), hook("after", Occasion.POST_ROLLOUT))
    rollout = await changed(store, rollout, Phase.WARMING)
    await changed(store, rollout, Phase.FAILED)
    assert set(told(await due(store))) == {("chat", "preparing"), ("after", "failed")}
    for phase in ("preparing", "warming", "failed"):
        [chat] = [each for each in await due(store) if each.webhook.name == "chat"]
        assert chat.said["phase"] == phase
        await store.delivered(chat)
    assert told(await due(store)) == [("after", "failed")]


async def test_what_is_under_way_is_left_out_and_no_more_than_asked_for_comes(store: Store) -> None:
    for model in ("one", "two", "three"):
        await begun(store, hook("chat"), hook("mail"), model=model)
    assert len(await due(store, limit=4)) == 4
    assert len(await due(store, lines=frozenset({("one-1", "chat")}))) == 5
    without = await due(store, destinations=frozenset({"chat.example.org:8443"}))
    assert {each.webhook.name for each in without} == {"mail"}
    assert (await store.due(DueQuery(AT + 10, 1))).waiting == 6


async def test_one_that_is_put_off_holds_its_line_and_one_that_is_given_up_lets_it_go_on(store: Store) -> None:
    rollout = await begun(store, hook("chat", retries=1), hook("mail"))
    await changed(store, rollout, Phase.WARMING)
    first = next(each for each in await due(store) if each.webhook.name == "chat")
    await store.put_off(first.refused("it answered 500\0", AT + 10))
    found = await store.due(DueQuery(AT + 11, 100))
    assert told(list(found.deliveries)) == [("mail", "preparing")]
    assert found.next_at == AT + 12
    words = undelivered_words(await store.undelivered(rollout.id), AT + 11)
    assert words[0].startswith("Webhook chat is still to be told of 2 changes, the first to 'preparing'; failed ")
    assert words[0].rstrip("\0\N{REPLACEMENT CHARACTER}.").endswith("attempts: 1; next in 1 s; it answered 500")
    again = next(each for each in await due(store, AT + 12) if each.webhook.name == "chat")
    assert (again.id, again.attempts, again.said) == (first.id, 1, first.said)
    await store.put_off(again.refused("a bad answer", AT + 12))
    assert ("chat", "warming") in told(await due(store, AT + 12))
    assert undelivered_words(await store.undelivered(rollout.id), AT + 12) == [
        "Webhook chat was not told of 1 change, the last to 'preparing'; given up; failed attempts: 2; a bad answer.",
        "Webhook chat is still to be told of 1 change, the first to 'warming'; not tried yet.",
        "Webhook mail is still to be told of 2 changes, the first to 'preparing'; not tried yet.",
    ]


async def test_nothing_is_told_of_an_unknown_rollout(store: Store) -> None:
    assert await store.undelivered("digits\0-9") == []


async def test_what_is_too_old_is_given_up(store: Store) -> None:
    rollout = await begun(store, hook("chat"), hook("mail"))
    found = await store.due(DueQuery(AT + MAX_AGE_S, 100))
    assert (len(found.deliveries), found.given_up) == (2, 0)
    found = await store.due(DueQuery(AT + MAX_AGE_S + 1, 100))
    assert (found.deliveries, found.waiting, found.given_up) == ((), 0, 2)
    assert (await store.due(DueQuery(AT + MAX_AGE_S + 1, 100))).given_up == 0, "each is counted once"
    words = undelivered_words(await store.undelivered(rollout.id), AT)
    assert len(words) == 2
    assert "older than 24 h" in words[0]


async def test_a_clock_that_is_set_back_holds_up_nothing(store: Store) -> None:
    await begun(store, hook("chat"))
    assert len(await due(store, AT - 3600)) == 1


async def test_what_is_kept_is_bounded_and_the_oldest_goes_first(store: Store) -> None:
    hooks = tuple(hook(f"chat{number}") for number in range(32))
    rollout = await begun(store, *hooks)
    for _ in range(MOST_WAITING // 32 + 40):
        rollout = await changed(store, rollout, Phase.PROGRESSING)
    found = await store.due(DueQuery(AT + 10, 100))
    written = 32 * (MOST_WAITING // 32 + 41)
    assert (found.waiting, found.given_up) == (MOST_WAITING, written - MOST_WAITING)
    assert {each.said["phase"] for each in found.deliveries} == {"progressing"}
    kinds = await store.undelivered(rollout.id)
    kept = [each.count for each in kinds if each.gave_up_at is not None]
    assert sum(kept) == MOST_GIVEN_UP


async def test_one_that_lost_the_lead_reads_nothing_to_send_and_marks_nothing(sql_store: OpenedStore) -> None:
    rollout = await begun(sql_store, hook("chat"))
    [delivery] = await due(sql_store)
    old = sql_store.mandate.require()
    await sql_store.lead_anew(instance="other")
    new = sql_store.mandate.require()
    sql_store.mandate.grant(old, float("inf"))
    with pytest.raises(NotLeading):
        await due(sql_store)
    with pytest.raises(NotLeading):
        await sql_store.delivered(delivery)
    with pytest.raises(NotLeading):
        await sql_store.put_off(delivery.refused("no answer", AT))
    [untold] = await sql_store.undelivered(rollout.id)
    assert (untold.attempts, untold.gave_up_at) == (0, None)
    sql_store.mandate.grant(new, float("inf"))
    assert await due(sql_store) == [delivery]


async def test_one_that_cannot_be_read_is_given_up_and_holds_up_no_other(sql_store: OpenedStore) -> None:
    rollout = await begun(sql_store, hook("chat"), hook("mail"))
    broken = update(OUTBOX).where(OUTBOX.c.webhook == "chat").values(document='{"webhook": {}}')
    await sql_store.database.run(lambda connection: connection.execute(broken).rowcount)
    found = await sql_store.due(DueQuery(AT + 10, 100))
    assert told(list(found.deliveries)) == [("mail", "preparing")]
    assert found.given_up == 1
    words = undelivered_words(await sql_store.undelivered(rollout.id), AT)
    assert words[0].startswith("Webhook chat was not told of 1 change, the last to 'preparing'; given up; failed attem")
    assert "a stored notice cannot be read" in words[0]
