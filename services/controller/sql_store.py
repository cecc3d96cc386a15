"""The store over SQLAlchemy: SQLite in WAL mode, or PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import alembic.command
import alembic.config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, func, insert, make_url, select, update
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    IntegrityError,
    NoSuchModuleError,
    SQLAlchemyError,
)

from services.controller.documents import (
    decode_entry,
    decode_rollout,
    decode_route,
    encode_entry,
    encode_rollout,
    encode_route,
)
from services.controller.schema import HISTORY, ROLLOUTS, ROUTE_TABLE, ROUTES
from services.controller.store import RouteBook
from services.core.errors import ConfigurationError, Conflict, MissingDependency, NotFound, Unavailable
from services.core.history import HistoryEntry
from services.core.rollout import Rollout
from services.core.route import Route

Result = TypeVar("Result")
_MIGRATIONS = Path(__file__).parent / "migrations"
_WAIT_MS = 5000


class SqlStore:
    """``RouteStore``, ``RolloutStore`` and ``HistoryStore`` in one database.

    The database is opened, and brought to the newest schema, by the first call that reaches it. Calls run one after
    another in a thread of their own, so that a slow disk never holds up the event loop.

    Args:
        url: SQLAlchemy URL.
        least_generation: The route table begins at this generation or later. Gateways refuse a table that is older
            than theirs: seconds since the epoch are beyond any generation of a database that was lost, or that was
            put back from a copy.

    Raises:
        ConfigurationError: The URL is wrong.
    """

    def __init__(self, url: str, least_generation: int) -> None:
        try:
            self._url = make_url(url)
        except ArgumentError as error:
            raise ConfigurationError(
                "the database URL is no SQLAlchemy URL; expected for example sqlite:////var/lib/penstock/penstock.db"
            ) from error
        self._name = self._url.render_as_string(hide_password=True)
        self._least_generation = least_generation
        self._engine: Engine | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    async def close(self) -> None:
        """Let the call in progress end, and give the connections back."""
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)
        if self._engine is not None:
            self._engine.dispose()

    async def book(self) -> RouteBook:
        """Return the stored table."""
        return await self._run(_book)

    async def put_route(self, route: Route, expected_generation: int) -> RouteBook:
        """Store one model's route if the table is at the expected generation."""

        def put(connection: Connection) -> RouteBook:
            generation = expected_generation + 1
            moved = connection.execute(
                update(ROUTE_TABLE).where(ROUTE_TABLE.c.generation == expected_generation).values(generation=generation)
            )
            if not moved.rowcount:
                raise Conflict(f"the route table is no longer at generation {expected_generation}; read it again")
            values = {"changed": generation, "document": encode_route(route)}
            known = connection.execute(update(ROUTES).where(ROUTES.c.model == route.model).values(values))
            if not known.rowcount:
                connection.execute(insert(ROUTES).values(model=route.model, **values))
            return _book(connection)

        return await self._run(put)

    async def create(self, rollout: Rollout, entry: HistoryEntry) -> Rollout:
        """Store a new rollout under the model's next number."""

        def put(connection: Connection) -> Rollout:
            _refuse_second(connection, rollout.model)
            last = select(func.max(ROLLOUTS.c.number)).where(ROLLOUTS.c.model == rollout.model)
            number = (connection.execute(last).scalar() or 0) + 1
            sequence = (connection.execute(select(func.max(ROLLOUTS.c.sequence))).scalar() or 0) + 1
            created = replace(rollout, number=number, generation=1)
            row = {
                "id": created.id,
                "model": created.model,
                "number": number,
                "sequence": sequence,
                "active": not created.phase.terminal,
                "generation": created.generation,
                "document": encode_rollout(created),
            }
            connection.execute(insert(ROLLOUTS).values(row))
            connection.execute(insert(HISTORY).values(rollout_id=created.id, document=encode_entry(entry)))
            return created

        return await self._run(put)

    async def save(self, rollout: Rollout, entry: HistoryEntry | None) -> Rollout:
        """Store what a rollout became if the stored one is at the generation it came from."""

        def put(connection: Connection) -> Rollout:
            saved = replace(rollout, generation=rollout.generation + 1)
            moved = connection.execute(
                update(ROLLOUTS)
                .where(ROLLOUTS.c.id == rollout.id, ROLLOUTS.c.generation == rollout.generation)
                .values(generation=saved.generation, active=not saved.phase.terminal, document=encode_rollout(saved))
            )
            if not moved.rowcount:
                raise Conflict(f"rollout {rollout.id} is no longer at generation {rollout.generation}; read it again")
            if entry is not None:
                connection.execute(insert(HISTORY).values(rollout_id=saved.id, document=encode_entry(entry)))
            return saved

        return await self._run(put)

    async def get(self, rollout_id: str) -> Rollout:
        """Return one rollout."""
        query = select(ROLLOUTS.c.document).where(ROLLOUTS.c.id == rollout_id)
        text = await self._run(lambda connection: connection.execute(query).scalar())
        if text is None:
            raise NotFound(f"no rollout '{rollout_id}'; `penstock rollout list` shows those there are")
        return decode_rollout(text)

    async def find(self, model: str | None = None, *, active: bool = False, limit: int = 100) -> list[Rollout]:
        """Return the latest rollouts first."""
        query = select(ROLLOUTS.c.document).order_by(ROLLOUTS.c.sequence.desc()).limit(limit)
        if model is not None:
            query = query.where(ROLLOUTS.c.model == model)
        if active:
            query = query.where(ROLLOUTS.c.active)
        texts = await self._run(lambda connection: list(connection.execute(query).scalars()))
        return [decode_rollout(text) for text in texts]

    async def history(self, rollout_id: str) -> list[HistoryEntry]:
        """Return a rollout's history, oldest line first."""
        query = select(HISTORY.c.document).where(HISTORY.c.rollout_id == rollout_id).order_by(HISTORY.c.id)
        texts = await self._run(lambda connection: list(connection.execute(query).scalars()))
        if not texts:
            raise NotFound(f"no rollout '{rollout_id}'; `penstock rollout list` shows those there are")
        return [decode_entry(text) for text in texts]

    async def _run(self, work: Callable[[Connection], Result]) -> Result:
        """Do some work in one transaction, in the store's thread; what the database raises becomes ours."""

        def in_thread() -> Result:
            try:
                with self._opened().begin() as connection:
                    return work(connection)
            except IntegrityError as error:
                raise Conflict(f"another controller wrote to {self._name} at the same time; try again") from error
            except (SQLAlchemyError, OSError) as error:
                words = str(getattr(error, "orig", None) or error)
                raise Unavailable(f"the database {self._name} does not answer: {words}") from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, in_thread)

    def _opened(self) -> Engine:
        if self._engine is None:
            engine = self._connectable()
            try:
                self._migrate(engine)
            except BaseException as error:
                engine.dispose()
                # The plain class is SQLite's word for a file that it cannot make sense of: waiting would not mend it.
                if type(error) is DatabaseError:
                    raise ConfigurationError(
                        f"the database {self._name} is damaged, or no database at all ({error.orig}); put a copy of it "
                        "back, or move it away to begin with no rollouts"
                    ) from error
                raise
            self._engine = engine
        return self._engine

    def _connectable(self) -> Engine:
        try:
            return _engine(self._url)
        except NoSuchModuleError as error:
            raise ConfigurationError(f"the database {self._name} is of an unknown kind: {error}") from error
        except ImportError as error:
            raise MissingDependency(
                f"the driver of {self._name} is not installed: {error}", "pip install 'psycopg[binary]'"
            ) from error

    def _migrate(self, engine: Engine) -> None:
        config = alembic.config.Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            try:
                alembic.command.upgrade(config, "head")
            except CommandError as error:
                raise ConfigurationError(
                    f"the database {self._name} cannot be brought to this version's schema ({error}); was it written "
                    "by a newer penstock?"
                ) from error
            if connection.execute(select(ROUTE_TABLE.c.id)).first() is None:
                connection.execute(insert(ROUTE_TABLE).values(id=1, generation=self._least_generation))
            behind = ROUTE_TABLE.c.generation < self._least_generation
            connection.execute(update(ROUTE_TABLE).where(behind).values(generation=self._least_generation))


def _engine(url: Any) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, pool_size=1, connect_args={"connect_timeout": _WAIT_MS // 1000})
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url)

    # SQLAlchemy begins transactions itself: pysqlite would begin them late, and a reader that turns writer can fail.
    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in (f"busy_timeout={_WAIT_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _book(connection: Connection) -> RouteBook:
    generation = connection.execute(select(ROUTE_TABLE.c.generation)).scalar_one()
    rows = connection.execute(select(ROUTES.c.model, ROUTES.c.changed, ROUTES.c.document)).all()
    return RouteBook(
        generation,
        {model: decode_route(document) for model, _, document in rows},
        {model: changed for model, changed, _ in rows},
    )


def _refuse_second(connection: Connection, model: str) -> None:
    active = select(ROLLOUTS.c.id).where(ROLLOUTS.c.model == model, ROLLOUTS.c.active)
    found = connection.execute(active).scalar()
    if found is not None:
        raise Conflict(f"model '{model}' has rollout {found} under way; abort it or wait until it is over")
