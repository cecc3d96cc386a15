"""The controller's database over SQLAlchemy: SQLite in WAL mode, or PostgreSQL 14 and newer.

Every wait has a bound: for the connection, for locks, for each statement and for the whole of a transaction. On
PostgreSQL the server itself ends the transaction of a process that stopped between two statements, so that its locks
keep nobody else for long; one that stopped in the middle of a batch of them is ended by the next leader
(``postgres_election``).
"""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import alembic.command
import alembic.config
from alembic.util.exc import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, make_url, select, text
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from services.controller.storage.schema import ROUTE_TABLE
from services.core.errors import ConfigurationError, Conflict, MissingDependency, Unavailable

Result = TypeVar("Result")
_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_KEY = 0x70656E73746F636B  # "penstock"
_KINDS = ("sqlite", "postgresql")
_WAIT_MS = 5000
_LOCKED_PAUSE_S = 0.02
_CONNECT_S = 4
_STOPPED_MS = 2000
_ATTEMPTS = 4
# Serialization failure and deadlock: PostgreSQL undid the transaction and asks for it again.
_ONCE_MORE = frozenset({"40001", "40P01"})


class Database:
    """One database, opened and brought to the newest schema by the first call that reaches it.

    Calls run one after another in a thread of their own, so that a slow disk never holds up the event loop.

    Args:
        url: SQLAlchemy URL.
        limit_s: Longest wait for one call. What it leaves behind is cut off from the database.

    Raises:
        ConfigurationError: The URL is wrong.
    """

    def __init__(self, url: str, limit_s: float = 12.0) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise ConfigurationError(
                "the database URL is no SQLAlchemy URL; expected for example sqlite:////var/lib/penstock/penstock.db "
                "or postgresql://USER:PASSWORD@HOST/DATABASE"
            ) from error
        kind = parsed.get_backend_name()
        if kind not in _KINDS:
            raise ConfigurationError(f"a database of the kind '{kind}'; expected one of {', '.join(_KINDS)}")
        self._url = parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed
        self.name = self._url.render_as_string(hide_password=True)
        self._limit_s = limit_s
        self._engine: Engine | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._line = Line()

    @property
    def shared(self) -> bool:
        """Whether several controllers may use it at once."""
        return self._url.get_backend_name() != "sqlite"

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database; None for one in memory and for a server."""
        found = self._url.database
        return None if self.shared or not found or found == ":memory:" else Path(found)

    async def run(self, work: Callable[[Connection], Result]) -> Result:
        """Do some work in one transaction; it may be done again where the database undid it.

        Raises:
            Conflict: Somebody else wrote the same at the same time.
            Unavailable: The database does not answer; whether it stored what was written is not known.
        """
        call = asyncio.get_running_loop().run_in_executor(self._thread, self._in_thread, work)
        try:
            async with asyncio.timeout(self._limit_s):
                return await call
        except TimeoutError as error:
            self._line.cut()
            raise Unavailable(f"the database {self.name} did not answer within {self._limit_s:g} s") from error

    async def close(self) -> None:
        """Let the call in progress end, for as long as a call may take, and give the connections back."""
        ended = asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)
        done, _ = await asyncio.wait({ended}, timeout=self._limit_s)
        if not done:
            self._line.cut()
        if self._engine is not None:
            self._engine.dispose()

    def connect(self) -> Connection:
        """Return a connection of its own, for what outlives a transaction; blocks for seconds at most.

        Raises:
            SQLAlchemyError: It cannot be had now.
            ConfigurationError: It can never be had.
        """
        return self._connectable().connect()

    def _in_thread(self, work: Callable[[Connection], Result]) -> Result:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._opened().begin() as connection, self._line.laid(connection):
                    return work(connection)
            except IntegrityError as error:
                # Somebody else was first. Done again, it sees what is there now, and can say what is in the way.
                if attempt == _ATTEMPTS:
                    raise Conflict(f"another controller wrote to {self.name} at the same time; try again") from error
            except (SQLAlchemyError, OSError) as error:
                if attempt == _ATTEMPTS or _sqlstate(error) not in _ONCE_MORE:
                    raise self._away(error) from error
        raise AssertionError("every attempt returns or raises")

    def _away(self, error: SQLAlchemyError | OSError) -> Unavailable:
        return Unavailable(f"the database {self.name} does not answer: {words_of(error)}")

    def _opened(self) -> Engine:
        if self._engine is None:
            engine = self._connectable()
            try:
                self._migrate(engine)
            except BaseException as error:
                engine.dispose()
                # The plain class is SQLite's word for a file that it cannot make sense of: waiting would not mend it.
                if type(error) is DatabaseError and not self.shared:
                    raise ConfigurationError(
                        f"the database {self.name} is damaged, or no database at all ({error.orig}); put a copy of it "
                        "back, or move it away to begin with no rollouts"
                    ) from error
                raise
            self._engine = engine
        return self._engine

    def _connectable(self) -> Engine:
        try:
            return _engine(self._url)
        except NoSuchModuleError as error:
            raise ConfigurationError(f"the database {self.name} is of an unknown kind: {error}") from error
        except ImportError as error:
            raise MissingDependency(
                f"the driver of {self.name} is not installed: {error}", "pip install 'penstock[postgres]'"
            ) from error

    def _migrate(self, engine: Engine) -> None:
        config = alembic.config.Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        with engine.begin() as connection, self._line.laid(connection):
            if self.shared:
                # Of controllers that start together one migrates, and the others find it done.
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_KEY})
            config.attributes["connection"] = connection
            try:
                alembic.command.upgrade(config, "head")
            except CommandError as error:
                raise ConfigurationError(
                    f"the database {self.name} cannot be brought to this version's schema ({error}); was it written "
                    "by a newer penstock?"
                ) from error
            if connection.execute(select(ROUTE_TABLE.c.id)).first() is None:
                connection.execute(insert(ROUTE_TABLE).values(id=1, generation=0))


class Line:
    """The connection that is in use, and a way to cut it from another thread.

    It keeps a descriptor of its own: the driver's may be closed, and its number given to another, at any time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    @contextmanager
    def laid(self, connection: Connection) -> Iterator[None]:
        """Be able to cut this connection while the context is entered."""
        fileno = getattr(connection.connection.driver_connection, "fileno", None)
        if fileno is None:  # a file: there is no line to it
            yield
            return
        own = socket.socket(fileno=os.dup(fileno()))
        with self._lock:
            self._socket = own
        try:
            yield
        finally:
            with self._lock:
                self._socket = None
            own.close()

    def cut(self) -> None:
        """Let whoever waits for the database get an error."""
        with self._lock, suppress(OSError):  # it may have ended by itself
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)


def words_of(error: SQLAlchemyError | OSError) -> str:
    """Return what a database said of an error."""
    return str(getattr(error, "orig", None) or error).strip()


def _sqlstate(error: SQLAlchemyError | OSError) -> str | None:
    return getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return _postgres_engine(url)
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url)

    # SQLAlchemy begins transactions itself: pysqlite would begin them late, and a reader that turns writer can fail.
    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={_WAIT_MS}")
        _write_ahead(connection)
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _write_ahead(connection: Any) -> None:
    """Have a database write ahead, which it remembers; SQLite does not wait for a lock here, so this does."""
    until = time.monotonic() + _WAIT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_LOCKED_PAUSE_S)
        else:
            return


def _postgres_engine(url: URL) -> Engine:
    bounds = {
        "statement_timeout": _WAIT_MS,
        "lock_timeout": _WAIT_MS,
        "idle_in_transaction_session_timeout": _STOPPED_MS,
    }
    given = url.query.get("options", "")
    options = " ".join([*(f"-c {name}={bound}" for name, bound in bounds.items()), str(given)]).strip()
    connect = {
        "connect_timeout": _CONNECT_S,
        "options": options,
        # A server that is gone without a word: what was sent and not taken, and a line on which nothing is sent.
        "tcp_user_timeout": _WAIT_MS,
        "keepalives_idle": 2,
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "application_name": "penstock-controller",
    }
    return create_engine(url, pool_pre_ping=True, pool_size=1, max_overflow=1, connect_args=connect)
