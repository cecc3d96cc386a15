"""What every store promises; the fake is held to it too, so that tests on the fake mean something."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.controller.sql_store import SqlStore
from services.controller.store import Store
from services.core.analysis import Terms, assess
from services.core.comparison import Comparison, OutputComparison, PairCounts
from services.core.difference import DifferenceHistogram
from services.core.errors import ConfigurationError, Conflict, MissingDependency, NotFound, Unavailable
from services.core.evidence import Evidence, Seen, Sighting
from services.core.histogram import LatencyHistogram
from services.core.history import HistoryEntry, Judged, beginning
from services.core.mirror import Mirror
from services.core.rollout import Phase, Rollout, new_rollout
from services.core.rollout_spec import AnalysisConfig, RolloutSpec, Step
from services.core.route import Route
from services.core.tally import Tally
from tests.fakes.store import FakeStore

pytestmark = pytest.mark.anyio


def url_of(directory: Path) -> str:
    return f"sqlite:///{directory / 'state' / 'penstock.db'}"


@pytest.fixture(params=["fake", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "fake":
        yield FakeStore(100)
        return
    sql = SqlStore(url_of(tmp_path), 100)
    yield sql
    await sql.close()


def rollout_of(model: str = "digits", version: int = 2) -> Rollout:
    return new_rollout(RolloutSpec(model, version, steps=(Step(5, 1.5, 7), Step(50))), 1, 10.25)


def tally() -> Tally:
    return Tally(1000, 2, 1, LatencyHistogram({3: 900, 400: 98}, 12.125), {"scores": (500, 498), "empty": ()})


def comparison() -> Comparison:
    counts = PairCounts(100, 7, 1, 90, 88)
    differences = DifferenceHistogram({0: 93, 120: 7})
    output = OutputComparison(99, 90, 88, 2, differences, differences, differences, differences)
    latency = LatencyHistogram({300: 100}, 1.5)
    return Comparison(counts, 3, 4, 5, latency, latency, {"scores": output}, {"tier=a": counts})


def rich(rollout: Rollout) -> Rollout:
    verdict = assess(Terms(AnalysisConfig(), 5, 10, 2, final=False), Seen(tally(), tally()))
    seen = Sighting(8, 101, tally(), Tally(), comparison(), Comparison())
    evidence = Evidence(tally(), tally(), {"worker-1": seen}, comparison(), Comparison())
    return replace(rollout, evidence=evidence, verdict=verdict, phase=Phase.PROGRESSING, step=1)


async def test_an_empty_store_has_no_routes_and_the_first_generation(store: Store) -> None:
    book = await store.book()
    assert (book.generation, dict(book.routes), dict(book.changed)) == (100, {}, {})


async def test_a_route_comes_back_as_it_went_in_and_moves_the_generation(store: Store) -> None:
    route = Route("digits", 1, 2, 25, frozenset({1, 2}))
    other = Route("other", 3, versions=frozenset({3, 4}), mirror=Mirror(4, 20, 5, "tier", 0.01, 0.5))
    await store.put_route(route, 100)
    book = await store.put_route(other, 101)
    assert book == await store.book()
    assert book.routes == {"digits": route, "other": other}
    assert (book.generation, book.changed) == (102, {"digits": 101, "other": 102})


async def test_a_route_over_an_older_table_is_refused_and_changes_nothing(store: Store) -> None:
    await store.put_route(Route("digits", 1), 100)
    with pytest.raises(Conflict, match="generation"):
        await store.put_route(Route("digits", 2), 100)
    assert (await store.book()).routes["digits"].stable == 1


async def test_rollouts_of_a_model_are_numbered_from_one(store: Store) -> None:
    first = await store.create(rollout_of(), beginning(rollout_of(), "ada"))
    await store.save(replace(first, phase=Phase.ABORTED), None)
    second = await store.create(rollout_of(), beginning(rollout_of(), "ada"))
    other = await store.create(rollout_of("digits-1"), beginning(rollout_of("digits-1"), "ada"))
    assert [first.id, second.id, other.id] == ["digits-1", "digits-2", "digits-1-1"]


async def test_a_second_rollout_of_a_model_is_refused_and_names_the_first(store: Store) -> None:
    await store.create(rollout_of(), beginning(rollout_of(), "ada"))
    with pytest.raises(Conflict, match="digits-1"):
        await store.create(rollout_of(version=3), beginning(rollout_of(), "bob"))
    assert len(await store.find("digits")) == 1


async def test_a_rollout_comes_back_as_it_went_in(store: Store) -> None:
    created = await store.create(rollout_of(), beginning(rollout_of(), "ada"))
    saved = await store.save(rich(created), None)
    assert saved == replace(rich(created), generation=2)
    assert await store.get("digits-1") == saved


async def test_a_rollout_over_an_older_one_is_refused_with_its_history(store: Store) -> None:
    created = await store.create(rollout_of(), beginning(rollout_of(), "ada"))
    await store.save(created, None)
    with pytest.raises(Conflict, match="digits-1"):
        await store.save(replace(created, step=1), beginning(created, "late"))
    assert (await store.get("digits-1")).step == 0
    assert len(await store.history("digits-1")) == 1


async def test_history_comes_back_in_order_with_every_number(store: Store) -> None:
    created = await store.create(rollout_of(), beginning(rollout_of(), "ada"))
    terms = Terms(AnalysisConfig(max_p99_ratio=2.0, slow_s=0.5), 25, 10, 2, final=True)
    seen = Seen(tally(), tally())
    judged = Judged(terms, seen, assess(terms, seen), 101)
    line = HistoryEntry(12.5, Phase.PROGRESSING, Phase.ROLLING_BACK, 5, 0, "assessed", "controller", "why", judged)
    await store.save(created, line)
    first, second = await store.history("digits-1")
    assert (first.actor, first.source) == ("ada", None)
    assert second == line
    assert second.judged is not None
    assert second.judged.replayed() == second.judged.verdict


async def test_the_latest_rollouts_come_first_and_those_that_are_over_can_be_left_out(store: Store) -> None:
    over = await store.create(rollout_of(), beginning(rollout_of(), "ada"))
    await store.save(replace(over, phase=Phase.FAILED), None)
    for model in ("digits", "other"):
        await store.create(rollout_of(model), beginning(rollout_of(model), "ada"))
    assert [each.id for each in await store.find()] == ["other-1", "digits-2", "digits-1"]
    assert [each.id for each in await store.find("digits", active=True)] == ["digits-2"]
    assert [each.id for each in await store.find(limit=1)] == ["other-1"]


async def test_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="digits-9"):
        await store.get("digits-9")
    with pytest.raises(NotFound, match="digits-9"):
        await store.history("digits-9")


async def test_of_many_writers_at_once_exactly_one_wins(store: Store) -> None:
    created = await store.create(rollout_of(), beginning(rollout_of(), "ada"))
    writes = [store.save(replace(created, step_entered_at=float(at)), None) for at in range(8)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(result, Rollout) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 7


async def test_two_processes_on_one_database_see_each_other(tmp_path: Path) -> None:
    one, two = SqlStore(url_of(tmp_path), 100), SqlStore(url_of(tmp_path), 100)
    try:
        await one.put_route(Route("digits", 1), (await one.book()).generation)
        book = await two.book()
        assert (book.generation, book.routes["digits"].stable) == (101, 1)
        await two.create(rollout_of(), beginning(rollout_of(), "ada"))
        with pytest.raises(Conflict, match="digits-1"):
            await one.create(rollout_of(), beginning(rollout_of(), "bob"))
    finally:
        await one.close()
        await two.close()


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    store = SqlStore(url_of(tmp_path), 100)
    saved = await store.save(rich(await store.create(rollout_of(), beginning(rollout_of(), "ada"))), None)
    await store.close()
    again = SqlStore(url_of(tmp_path), 999)
    try:
        assert await again.find(active=True) == [saved]
    finally:
        await again.close()


async def test_after_a_restart_the_table_is_newer_than_any_that_gateways_may_have(tmp_path: Path) -> None:
    """Even where the database was put back from an older copy."""
    store = SqlStore(url_of(tmp_path), 100)
    await store.put_route(Route("digits", 1), (await store.book()).generation)
    await store.close()
    again = SqlStore(url_of(tmp_path), 5000)
    try:
        book = await again.book()
        assert (book.generation, book.changed) == (5000, {"digits": 101})
    finally:
        await again.close()


@pytest.mark.parametrize("url", ["", "no url", "nonsense://x/y"])
async def test_a_wrong_database_url_is_refused_with_words(url: str) -> None:
    async def read() -> None:
        store = SqlStore(url, 100)
        try:
            await store.book()
        finally:
            await store.close()

    with pytest.raises(ConfigurationError, match="database"):
        await read()


async def test_a_missing_driver_is_named_with_its_remedy() -> None:
    store = SqlStore("postgresql+psycopg://user:secret@127.0.0.1:1/db", 100)
    try:
        with pytest.raises((MissingDependency, Unavailable)) as refusal:
            await store.book()
        assert "secret" not in str(refusal.value)
    finally:
        await store.close()


async def test_a_database_that_cannot_be_opened_is_unavailable_and_opens_later(tmp_path: Path) -> None:
    blocked = tmp_path / "state"
    blocked.write_text("a file where the directory should be")
    store = SqlStore(url_of(tmp_path), 100)
    try:
        with pytest.raises(Unavailable, match=r"penstock\.db"):
            await store.book()
        blocked.unlink()
        assert (await store.book()).generation == 100
    finally:
        await store.close()


async def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "state" / "penstock.db"
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    store = SqlStore(url_of(tmp_path), 100)
    try:
        with pytest.raises(ConfigurationError, match=r"not a database.*move it away"):
            await store.book()
    finally:
        await store.close()


async def test_a_damaged_database_is_said_to_be_damaged(tmp_path: Path) -> None:
    store = SqlStore(url_of(tmp_path), 100)
    await store.book()
    await store.close()
    path = tmp_path / "state" / "penstock.db"
    page = 4096
    content = path.read_bytes()
    path.write_bytes(content[:page] + b"\x07" * (len(content) - page))
    damaged = SqlStore(url_of(tmp_path), 100)
    try:
        with pytest.raises(ConfigurationError, match=r"penstock\.db is damaged"):
            await damaged.book()
    finally:
        await damaged.close()


async def test_a_database_of_a_newer_penstock_is_refused_with_words(tmp_path: Path) -> None:
    import sqlite3

    store = SqlStore(url_of(tmp_path), 100)
    await store.book()
    await store.close()
    connection = sqlite3.connect(tmp_path / "state" / "penstock.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    newer = SqlStore(url_of(tmp_path), 100)
    try:
        with pytest.raises(ConfigurationError, match="newer penstock"):
            await newer.book()
    finally:
        await newer.close()


async def test_a_password_in_the_url_is_never_said(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite://user:secret@/{tmp_path}/penstock.db", 100)
    try:
        with pytest.raises((Unavailable, ConfigurationError)) as refusal:
            await store.book()
        assert "secret" not in str(refusal.value)
    finally:
        await store.close()


def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine

    from services.controller.schema import METADATA

    async def migrate() -> None:
        store = SqlStore(url_of(tmp_path), 100)
        await store.book()
        await store.close()

    asyncio.run(migrate())
    engine = create_engine(url_of(tmp_path))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()
