"""What every store promises; the fake is held to it too, so that tests on the fake mean something."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from loadtest.postgres import Postgres
from services.controller.election.leadership import Leader, NotLeading
from services.controller.storage.store import AuditQuery, Store
from services.core.analysis.assessment import Terms, assess
from services.core.counts.comparison import Comparison, OutputComparison, PairCounts
from services.core.counts.difference import DifferenceHistogram
from services.core.counts.histogram import LatencyHistogram
from services.core.counts.tally import Tally
from services.core.counts.value_histogram import ValueHistogram
from services.core.errors import ConfigurationError, Conflict, MissingDependency, NotFound, Unavailable
from services.core.mirror import Mirror
from services.core.rollouts.audit import ROUTE, AuditOutcome, Standing
from services.core.rollouts.evidence import Evidence, Seen, Sighting
from services.core.rollouts.experiment import Experiment, OutcomeSpec
from services.core.rollouts.feedback import Feedback, Taken
from services.core.rollouts.history import HistoryEntry, Judged, beginning
from services.core.rollouts.outcomes import Totals
from services.core.rollouts.rollout import Phase, Rollout, new_rollout
from services.core.rollouts.rollout_spec import AnalysisConfig, RolloutSpec, Step, Strategy
from services.core.route import Arm, Route
from tests.fakes.audit_records import record_of
from tests.fakes.opened_store import OpenedStore, sqlite_url
from tests.fakes.store import FakeStore

pytestmark = pytest.mark.anyio


url_of = sqlite_url
Stores = Callable[..., OpenedStore]
SQL = ["sqlite", "postgresql"]


@pytest.fixture
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Return the URL of an empty database by its kind; a skip is no answer: the wheel is a dependency of the tests."""

    def url(kind: str) -> str:
        if kind == "sqlite":
            return sqlite_url(tmp_path)
        postgres: Postgres = request.getfixturevalue("postgres")
        return postgres.create()

    return url


@pytest.fixture(params=["fake", *SQL])
async def store(request: pytest.FixtureRequest, urls: Callable[[str], str]) -> AsyncIterator[Store]:
    if request.param == "fake":
        yield FakeStore(100)
        return
    sql = OpenedStore(urls(request.param))
    await sql.lead_anew(100)
    yield sql
    await sql.close()


@pytest.fixture(params=SQL)
async def stores(request: pytest.FixtureRequest, urls: Callable[[str], str]) -> AsyncIterator[Stores]:
    """Open the same database again and again, as so many processes would; all write by the same lead."""
    url, opened = urls(request.param), list[OpenedStore]()

    def another(epoch: int | None = 0) -> OpenedStore:
        opened.append(OpenedStore(url, epoch))
        return opened[-1]

    yield another
    for each in opened:
        await each.close()


async def created_in(store: Store, model: str = "digits", version: int = 2, actor: str = "ada") -> Rollout:
    rollout = rollout_of(model, version)
    return await store.create(rollout, beginning(rollout, actor), record_of(model=model, actor=actor))


def rollout_of(model: str = "digits", version: int = 2) -> Rollout:
    return new_rollout(RolloutSpec(model, version, steps=(Step(5, 1.5, 7), Step(50))), 1, 10.25)


def tally() -> Tally:
    classes, values = {"scores": (500, 498), "empty": ()}, {"mean:price": ValueHistogram({1700: 998}, 998)}
    return Tally(1000, 2, 1, LatencyHistogram({3: 900, 400: 98}, 12.125), classes, values, unanswered=4)


def comparison() -> Comparison:
    counts = PairCounts(100, 7, 1, 90, 88)
    differences = DifferenceHistogram({0: 93, 120: 7})
    output = OutputComparison(99, 90, 88, 2, 1, 0, 3, differences, differences, differences, differences)
    latency = LatencyHistogram({300: 100}, 1.5)
    return Comparison(counts, 3, 4, 5, latency, latency, {"scores": output}, {"tier=a": counts})


def rich(rollout: Rollout) -> Rollout:
    verdict = assess(Terms(AnalysisConfig(), 5, 10, 2, final=False), Seen(tally(), tally()))
    seen = Sighting(8, 101, tally(), Tally(), comparison(), Comparison())
    evidence = Evidence(tally(), tally(), {"worker-1": seen}, comparison(), Comparison(), stable_non_finite_before=6)
    return replace(rollout, evidence=evidence, verdict=verdict, phase=Phase.PROGRESSING, step=1)


async def test_an_empty_store_has_no_routes_and_the_first_generation(store: Store) -> None:
    book = await store.book()
    assert (book.generation, dict(book.routes), dict(book.changed)) == (100, {}, {})


async def test_a_route_comes_back_as_it_went_in_and_moves_the_generation(store: Store) -> None:
    route = Route("digits", 1, 2, 25, frozenset({1, 2}))
    other = Route("other", 3, versions=frozenset({3, 4}), mirror=Mirror(4, 20, 5, "tier", 0.01, 0.5))
    await store.put_route(route, 100, record_of(ROUTE))
    book = await store.put_route(other, 101, record_of(ROUTE))
    assert book == await store.book()
    assert book.routes == {"digits": route, "other": other}
    assert (book.generation, book.changed) == (102, {"digits": 101, "other": 102})


async def test_a_route_over_an_older_table_is_refused_and_changes_nothing(store: Store) -> None:
    await store.put_route(Route("digits", 1), 100, record_of(ROUTE))
    with pytest.raises(Conflict, match="generation"):
        await store.put_route(Route("digits", 2), 100, record_of(ROUTE))
    assert (await store.book()).routes["digits"].stable == 1


async def test_rollouts_of_a_model_are_numbered_from_one(store: Store) -> None:
    first = await created_in(store)
    await store.save(replace(first, phase=Phase.ABORTED), None)
    second = await created_in(store)
    other = await created_in(store, "digits-1")
    assert [first.id, second.id, other.id] == ["digits-1", "digits-2", "digits-1-1"]


async def test_a_second_rollout_of_a_model_is_refused_and_names_the_first(store: Store) -> None:
    await created_in(store)
    with pytest.raises(Conflict, match="digits-1"):
        await created_in(store, version=3, actor="bob")
    assert len(await store.find("digits")) == 1


async def test_a_rollout_comes_back_as_it_went_in(store: Store) -> None:
    created = await created_in(store)
    saved = await store.save(rich(created), None)
    assert saved == replace(rich(created), generation=2)
    assert await store.get("digits-1") == saved


async def test_a_rollout_over_an_older_one_is_refused_with_its_history(store: Store) -> None:
    created = await created_in(store)
    await store.save(created, None)
    with pytest.raises(Conflict, match="digits-1"):
        await store.save(replace(created, step=1), beginning(created, "late"))
    assert (await store.get("digits-1")).step == 0
    assert len(await store.history("digits-1")) == 1


async def test_history_comes_back_in_order_with_every_number(store: Store) -> None:
    created = await created_in(store)
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
    over = await created_in(store)
    await store.save(replace(over, phase=Phase.FAILED), None)
    for model in ("digits", "other"):
        await created_in(store, model)
    assert [each.id for each in await store.find()] == ["other-1", "digits-2", "digits-1"]
    assert [each.id for each in await store.find("digits", active=True)] == ["digits-2"]
    assert [each.id for each in await store.find(limit=1)] == ["other-1"]


async def test_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="digits-9"):
        await store.get("digits-9")
    with pytest.raises(NotFound, match="digits-9"):
        await store.history("digits-9")


async def test_of_many_writers_at_once_exactly_one_wins(store: Store) -> None:
    created = await created_in(store)
    writes = [store.save(replace(created, step_entered_at=float(at)), None) for at in range(8)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(result, Rollout) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 7


async def test_a_lost_compare_and_swap_leaves_no_record(store: Store) -> None:
    created = await created_in(store)
    await store.save(created, None, record_of("pause"))
    with pytest.raises(Conflict, match="digits-1"):
        await store.save(created, None, record_of("abort"))
    with pytest.raises(Conflict, match="generation"):
        await store.put_route(Route("digits", 1), 7, record_of(ROUTE))
    assert [record.action for record in (await store.audit(AuditQuery())).records] == ["pause", "start"]


async def test_a_record_comes_back_as_it_went_in_with_the_rollout_that_it_began(store: Store) -> None:
    record = record_of(source=Standing(1, None, 0), request_id="r-1", reason="\N{SNOWMAN}")
    created = await store.create(rollout_of(), beginning(rollout_of(), "ada"), record)
    kept = replace(record, rollout=created.id)
    assert (await store.audit(AuditQuery())).records == (kept,)
    assert await store.done_by("r-1") == kept
    assert await store.done_by("r-2") is None


async def test_the_audit_log_is_paged_and_filtered(store: Store) -> None:
    for number in range(7):
        model, actor = ("digits", "ada") if number % 2 else ("other", "bob")
        outcome = AuditOutcome.REFUSED if number else AuditOutcome.DONE
        record = record_of(model=model, actor=actor, rollout=f"{model}-1", at=float(number), outcome=outcome)
        await store.note(record)
    first = await store.audit(AuditQuery(limit=3))
    assert [record.at for record in first.records] == [6.0, 5.0, 4.0]
    second = await store.audit(AuditQuery(limit=4, before=first.more))
    assert [record.at for record in second.records] == [3.0, 2.0, 1.0, 0.0]
    assert second.more is None
    for query in (AuditQuery(model="digits"), AuditQuery(rollout="digits-1"), AuditQuery(actor="ada")):
        assert [record.at for record in (await store.audit(query)).records] == [5.0, 3.0, 1.0]
    assert (await store.audit(AuditQuery(model="digits", actor="bob"))).records == ()


async def test_a_request_is_done_once(store: Store) -> None:
    created = await created_in(store)
    saved = await store.save(created, None, record_of("pause", request_id="r-1"))
    with pytest.raises(Conflict):
        await store.save(saved, None, record_of("pause", request_id="r-1"))
    assert (await store.get(created.id)).generation == saved.generation
    await store.note(record_of("pause", request_id="r-1", outcome=AuditOutcome.REPEATED))


async def test_a_request_that_found_done_what_it_asks_for_is_remembered_too(store: Store) -> None:
    created = await created_in(store)
    for outcome in (AuditOutcome.REFUSED, AuditOutcome.REPEATED, AuditOutcome.REPEATED):
        assert await store.done_by("r-1") is None or outcome is AuditOutcome.REPEATED
        await store.note(record_of("pause", request_id="r-1", outcome=outcome))
    found = await store.done_by("r-1")
    assert found is not None
    assert found.outcome is AuditOutcome.REPEATED
    with pytest.raises(Conflict):
        await store.save(created, None, record_of("pause", request_id="r-1"))


async def test_an_id_without_an_end_is_not_told_without_an_end(store: Store) -> None:
    for read in (store.get, store.history):
        with pytest.raises(NotFound, match="no rollout 'xxx") as error:
            await read("x" * 1_000_000)
        assert len(error.value.message) < 1_000


async def test_a_text_with_a_nul_is_found_nowhere_and_refused_nowhere(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.get("digits\0-1")
    with pytest.raises(NotFound):
        await store.history("\0")
    assert await store.find("\0") == []
    await store.note(record_of(actor="a\0da", model="\0", outcome=AuditOutcome.REFUSED))
    assert len((await store.audit(AuditQuery())).records) == 1


async def test_nobody_writes_without_the_lead_or_by_an_old_one_and_everybody_reads(stores: Stores) -> None:
    leader, follower, deposed = stores(), stores(None), stores()
    created = await created_in(deposed)
    assert await leader.lead_anew(instance="new") == 1
    for store, words in ((follower, "no controller leads"), (deposed, r"given the lead 0 and new has the lead 1")):
        writes = (
            lambda store=store: created_in(store, "other"),
            lambda store=store: store.save(created),
            lambda store=store: store.put_route(Route("digits", 1), 0, record_of(ROUTE)),
            lambda store=store: store.note(record_of(outcome=AuditOutcome.REFUSED)),
        )
        for write in writes:
            with pytest.raises(NotLeading, match=words):
                await write()
        assert await store.get(created.id) == created
        lead = await store.lead()
        assert (lead.epoch, lead.leader) == (1, Leader("new", "new:9000", "new:9001"))
    assert (await leader.save(created)).generation == 2
    assert [record.action for record in (await follower.audit(AuditQuery())).records] == ["start"]


async def test_processes_on_one_database_see_each_other(stores: Stores) -> None:
    one, two = stores(), stores()
    await one.put_route(Route("digits", 1), 0, record_of(ROUTE))
    book = await two.book()
    assert (book.generation, book.routes["digits"].stable) == (1, 1)
    await created_in(two)
    with pytest.raises(Conflict, match="digits-1"):
        await created_in(one, actor="bob")


async def test_controllers_that_start_together_make_the_schema_once(stores: Stores) -> None:
    opened = [stores() for _ in range(4)]
    assert [book.generation for book in await asyncio.gather(*(store.book() for store in opened))] == [0] * 4


async def test_of_many_processes_exactly_one_starts_a_rollout_and_the_others_are_told_of_it(stores: Stores) -> None:
    opened = [stores() for _ in range(6)]
    for round_ in range(5):
        model = f"model-{round_}"
        results = await asyncio.gather(*(created_in(store, model) for store in opened), return_exceptions=True)
        [winner] = [result for result in results if isinstance(result, Rollout)]
        assert winner.id == f"{model}-1"
        refusals = [str(result) for result in results if isinstance(result, Conflict)]
        assert len(refusals) == 5
        assert all(f"{model}-1 under way" in words for words in refusals), refusals


async def test_of_many_processes_exactly_one_moves_the_routes_and_one_the_rollout(stores: Stores) -> None:
    opened = [stores() for _ in range(6)]
    created = await created_in(opened[0])
    for generation in range(5):
        moves = (
            store.put_route(Route("digits", place + 1), generation, record_of(ROUTE))
            for place, store in enumerate(opened)
        )
        moved = await asyncio.gather(*moves, return_exceptions=True)
        [book] = [result for result in moved if not isinstance(result, BaseException)]
        assert book == await opened[0].book()
        assert sum(isinstance(result, Conflict) for result in moved) == 5
        saved = await asyncio.gather(*(store.save(created) for store in opened), return_exceptions=True)
        [created] = [result for result in saved if isinstance(result, Rollout)]
        assert sum(isinstance(result, Conflict) for result in saved) == 5


async def test_a_table_is_read_as_it_was_at_one_moment(stores: Stores) -> None:
    writer, reader = stores(), stores()

    async def write() -> None:
        for generation in range(40):
            route = Route("digits", generation + 1)
            await writer.put_route(route, generation, record_of(ROUTE))

    writing = asyncio.create_task(write())
    while not writing.done():
        book = await reader.book()
        assert book.generation == (book.routes["digits"].stable if book.routes else 0)
    await writing


async def test_what_was_stored_is_there_after_a_restart(stores: Stores) -> None:
    store = stores()
    saved = await store.save(rich(await created_in(store)), None)
    await store.close()
    assert await stores().find(active=True) == [saved]


async def test_with_a_new_lead_the_table_is_newer_than_any_that_gateways_may_have(stores: Stores) -> None:
    """Even where the database was put back from an older copy."""
    store = stores()
    await store.put_route(Route("digits", 1), 0, record_of(ROUTE))
    again = stores()
    await again.lead_anew(5000)
    book = await again.book()
    assert (book.generation, book.changed) == (5000, {"digits": 1})


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"])
async def test_the_database_itself_keeps_the_audit_log_as_it_is(stores: Stores, statement: str) -> None:
    store = stores()
    await created_in(store)
    with pytest.raises((Conflict, Unavailable)):
        await store.database.run(lambda connection: connection.execute(text(statement)))
    assert [record.actor for record in (await store.audit(AuditQuery())).records] == ["ada"]


@pytest.mark.parametrize("url", ["", "no url", "nonsense://x/y"])
async def test_a_wrong_database_url_is_refused_with_words(url: str) -> None:
    async def read() -> None:
        store = OpenedStore(url)
        try:
            await store.book()
        finally:
            await store.close()

    with pytest.raises(ConfigurationError, match="database"):
        await read()


async def test_a_server_that_is_away_is_unavailable_and_its_password_is_not_said() -> None:
    store = OpenedStore("postgresql://user:secret@127.0.0.1:1/db")
    try:
        with pytest.raises(Unavailable, match="does not answer") as refusal:
            await store.book()
        assert "secret" not in str(refusal.value)
    finally:
        await store.close()


async def test_a_missing_driver_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # what an import of a package that is not there meets
    store = OpenedStore("postgresql://127.0.0.1:1/db")
    try:
        with pytest.raises(MissingDependency, match="psycopg") as refusal:
            await store.book()
        assert refusal.value.remedy == "pip install 'penstock[postgres]'"
    finally:
        await store.close()


async def test_a_database_that_cannot_be_opened_is_unavailable_and_opens_later(tmp_path: Path) -> None:
    blocked = tmp_path / "state"
    blocked.write_text("a file where the directory should be")
    store = OpenedStore(url_of(tmp_path))
    try:
        with pytest.raises(Unavailable, match=r"penstock\.db"):
            await store.book()
        blocked.unlink()
        assert (await store.book()).generation == 0
    finally:
        await store.close()


async def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "state" / "penstock.db"
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    store = OpenedStore(url_of(tmp_path))
    try:
        with pytest.raises(ConfigurationError, match=r"not a database.*move it away"):
            await store.book()
    finally:
        await store.close()


async def test_a_damaged_database_is_said_to_be_damaged(tmp_path: Path) -> None:
    store = OpenedStore(url_of(tmp_path))
    await store.book()
    await store.close()
    path = tmp_path / "state" / "penstock.db"
    page = 4096
    content = path.read_bytes()
    path.write_bytes(content[:page] + b"\x07" * (len(content) - page))
    damaged = OpenedStore(url_of(tmp_path))
    try:
        with pytest.raises(ConfigurationError, match=r"penstock\.db is damaged"):
            await damaged.book()
    finally:
        await damaged.close()


async def test_a_database_of_a_newer_penstock_is_refused_with_words(tmp_path: Path) -> None:
    import sqlite3

    store = OpenedStore(url_of(tmp_path))
    await store.book()
    await store.close()
    connection = sqlite3.connect(tmp_path / "state" / "penstock.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    newer = OpenedStore(url_of(tmp_path))
    try:
        with pytest.raises(ConfigurationError, match="newer penstock"):
            await newer.book()
    finally:
        await newer.close()


async def test_a_password_in_the_url_is_never_said(tmp_path: Path) -> None:
    store = OpenedStore(f"sqlite://user:secret@/{tmp_path}/penstock.db")
    try:
        with pytest.raises((Unavailable, ConfigurationError)) as refusal:
            await store.book()
        assert "secret" not in str(refusal.value)
    finally:
        await store.close()


@pytest.mark.parametrize("kind", SQL)
def test_the_migrations_make_the_tables_that_the_code_uses(kind: str, urls: Callable[[str], str]) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from services.controller.storage.schema import METADATA

    async def differences() -> object:
        store = OpenedStore(urls(kind))
        try:
            return await store.database.run(lambda c: compare_metadata(MigrationContext.configure(c), METADATA))
        finally:
            await store.close()

    assert asyncio.run(differences()) == []


def ab_test(model: str = "digits") -> Rollout:
    experiment = Experiment(OutcomeSpec("clicked"), (Arm(3, 20),))
    return new_rollout(RolloutSpec(model, 2, Strategy.AB, (Step(30),), experiment=experiment), 1, 1000.0)


async def test_an_outcome_counts_once_and_the_first_one_wins(store: Store) -> None:
    rollout = await store.create(ab_test(), beginning(ab_test(), "ada"), record_of("start"))
    first = [(Feedback("a", 1, "clicked", 1.0), 1.0), (Feedback("b", 2, "clicked", 0.0), 0.0)]
    taken, totals = await store.add_outcomes(rollout.id, first)
    assert taken == [Taken.STORED, Taken.STORED]
    assert totals == {1: Totals().with_outcome(1.0), 2: Totals().with_outcome(0.0)}
    again = [*first, (Feedback("b", 2, "clicked", 1.0), 1.0), (Feedback("a", 3, "clicked", 1.0), 1.0)]
    taken, after = await store.add_outcomes(rollout.id, again)
    assert taken == [Taken.REPEATED, Taken.REPEATED, Taken.CONFLICTING, Taken.CONFLICTING]
    assert after == totals
    both = [(Feedback("c", 3, "clicked", 1.0), 1.0)] * 2
    assert (await store.add_outcomes(rollout.id, both))[0] == [Taken.STORED, Taken.REPEATED]
    assert await store.outcome_totals() == {rollout.id: {**totals, 3: Totals().with_outcome(1.0)}}


async def test_outcomes_of_two_tests_are_apart_and_one_that_is_over_takes_none(store: Store) -> None:
    one, other = [
        await store.create(ab_test(model), beginning(ab_test(model), "ada"), record_of("start"))
        for model in ("digits", "letters")
    ]
    fed = [(Feedback("a", 1, "clicked", 1.0), 1.0)]
    assert (await store.add_outcomes(one.id, fed))[0] == [Taken.STORED]
    assert (await store.add_outcomes(other.id, fed))[0] == [Taken.STORED]
    await store.save(replace(one, phase=Phase.CONCLUDED))
    with pytest.raises(Conflict, match="over"):
        await store.add_outcomes(one.id, fed)
    assert list(await store.outcome_totals()) == [other.id]


async def test_a_rollout_with_arms_and_its_route_come_back_as_they_were_stored(store: Store) -> None:
    rollout = await store.create(ab_test(), beginning(ab_test(), "ada"), record_of("start"))
    seen = Sighting(3, 7, arms={3: Tally(5)})
    evidence = Evidence(cursors={"w": seen}, arms={3: Tally(9)}, outcomes={1: Totals(2, 1.0, 0.5)})
    saved = await store.save(replace(rollout, evidence=evidence))
    assert await store.get(rollout.id) == saved
    route = Route("digits", 1, 2, 30, frozenset({1, 2, 3}), arms=(Arm(3, 20),), experiment=True)
    book = await store.put_route(route, (await store.book()).generation, record_of(ROUTE))
    assert book.routes["digits"] == route
