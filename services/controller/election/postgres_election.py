"""One leader of several controllers, by an advisory lock of PostgreSQL.

The lock belongs to a session, and a session ends on the server's side: at once when the leader's process ends, and
``lease_s`` after its last word when it was frozen or is cut off (``idle_session_timeout``). Nobody else gets the lock
while a leader that counts from when it sent its last word still holds itself to be one, and somebody does soon after.

A leader that was frozen while it wrote may have left a transaction open that the server waits for without an end: one
whose client stopped in the middle of a batch of statements, or of reading an answer, is not idle, and no timeout of
PostgreSQL before 17 is for it. Who gets the lock next ends it, or would wait for its row locks until the other thaws.

The session must be the leader's own: behind a pooler that shares sessions among transactions there is no such lock.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from services.controller.election.leadership import Leader
from services.controller.election.sql_leadership import begin_term, require_epoch
from services.controller.storage.database import Database, Line, words_of
from services.core.errors import PenstockError, Unavailable

Result = TypeVar("Result")
_LOG = logging.getLogger(__name__)
_LEAD_KEY = 0x6C656164  # "lead"
# For a connection, and for a transaction of the leader before that stopped in the middle.
_WIN_S = 10.0
# Whoever holds the row of the lead in a transaction (``require_epoch``); the role may always end what is its own.
_END_WRITERS = text("""
SELECT pg_terminate_backend(activity.pid)
FROM pg_locks AS held
JOIN pg_stat_activity AS activity ON activity.pid = held.pid
JOIN pg_database AS here ON here.oid = held.database AND here.datname = current_database()
WHERE held.relation = 'leadership'::regclass AND held.mode = 'RowShareLock' AND held.granted
  AND activity.pid <> pg_backend_pid() AND activity.usename = current_user
  AND clock_timestamp() - activity.xact_start > make_interval(secs => :age_s)
""")


class PostgresElection:
    """The ``Election`` by an advisory lock, on a connection and in a thread of its own.

    Args:
        database: Where the lock is; its schema is brought up to date first.
        me: This process.
        least_generation: Gives what ``begin_term`` takes; asked at every win.
        clock: The mandate's clock, seconds.
        lease_s: How long the server waits for a leader's next word.
        beat_s: Between two words of a leader, and between two attempts of a follower.
    """

    def __init__(
        self,
        database: Database,
        me: Leader,
        least_generation: Callable[[], int],
        *,
        clock: Callable[[], float] = time.monotonic,
        lease_s: float = 3.0,
        beat_s: float = 0.5,
    ) -> None:
        self._database = database
        self._me = me
        self._least_generation = least_generation
        self._clock = clock
        self._lease_s = lease_s
        self._beat_s = beat_s
        self._connection: Connection | None = None
        self._ear: socket.socket | None = None
        self._line = Line()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="election")
        self._epoch = 0
        self._opened = False

    async def win(self) -> tuple[int, float]:
        """Try for the lock again and again; a database that is away is waited for."""
        known = ""
        while True:
            try:
                if not self._opened:
                    await self._database.run(lambda _: None)
                    self._opened = True
                asked = self._clock()
                if await self._bounded(self._try, _WIN_S):
                    return self._epoch, asked + self._lease_s
                known = ""
            except Unavailable as error:
                if error.message != known:
                    _LOG.warning("no election: %s", error)
                known = error.message
            await asyncio.sleep(self._beat_s)

    async def lose(self, extend: Callable[[float], None]) -> str:
        """Keep the session alive, and notice its end at once."""
        while True:
            await self._quiet()
            sent = self._clock()
            try:
                await self._bounded(self._confirm, self._lease_s)
            except PenstockError as error:
                await self.resign()
                return error.message
            extend(sent + self._lease_s)

    async def resign(self) -> None:
        """Close the session, which gives the lock back."""
        loop = asyncio.get_running_loop()
        closing = loop.run_in_executor(self._thread, self._close)
        done, _ = await asyncio.wait({closing}, timeout=self._lease_s)
        if not done:
            self._line.cut()

    async def aclose(self) -> None:
        """Resign for good."""
        await self.resign()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _bounded(self, work: Callable[[], Result], limit_s: float) -> Result:
        call = asyncio.get_running_loop().run_in_executor(self._thread, self._attempt, work)
        try:
            async with asyncio.timeout(limit_s):
                return await call
        except TimeoutError as error:
            self._line.cut()
            raise Unavailable(f"the database {self._database.name} does not answer the election") from error

    def _attempt(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except (SQLAlchemyError, OSError) as error:
            self._close()
            raise Unavailable(f"the database {self._database.name} ended the session: {words_of(error)}") from error
        except PenstockError:
            self._close()
            raise

    def _try(self) -> bool:
        connection = self._open()
        with self._line.laid(connection):
            with connection.begin():
                won = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LEAD_KEY}).scalar()
            if won:
                with connection.begin():
                    ended = connection.execute(_END_WRITERS, {"age_s": self._lease_s / 2}).all()
                if ended:
                    _LOG.warning("transactions that the leader before had left open were ended: %d", len(ended))
                with connection.begin():
                    self._epoch = begin_term(connection, self._me, self._least_generation())
        return bool(won)

    def _confirm(self) -> None:
        connection = self._connection
        if connection is None:
            raise Unavailable("the session of the lead was given back")
        with self._line.laid(connection), connection.begin():
            require_epoch(connection, self._epoch)

    def _open(self) -> Connection:
        if self._connection is None:
            connection = self._database.connect()
            try:
                with self._line.laid(connection), connection.begin():
                    for bound in ("idle_session_timeout", "idle_in_transaction_session_timeout"):
                        # SET takes no parameters; both words are ours.
                        connection.execute(text(f"SET {bound} = {int(1000 * self._lease_s)}"))
                self._ear = socket.socket(fileno=os.dup(_fileno(connection)))
            except BaseException:
                _end(connection)
                raise
            self._connection = connection
        return self._connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        ear, self._ear = self._ear, None
        if connection is not None:
            _end(connection)
        if ear is not None:
            ear.close()

    async def _quiet(self) -> None:
        """Wait for one beat, or until the server says something, which is that the session has ended."""
        ear = self._ear
        if ear is None:
            return
        loop = asyncio.get_running_loop()
        said = asyncio.Event()
        loop.add_reader(ear.fileno(), said.set)
        try:
            async with asyncio.timeout(self._beat_s):
                await said.wait()
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(ear.fileno())


def _end(connection: Connection) -> None:
    with suppress(SQLAlchemyError, OSError):  # it may have ended by itself
        connection.invalidate()
    connection.close()
    connection.engine.dispose()


def _fileno(connection: Connection) -> int:
    driver = connection.connection.driver_connection
    if driver is None:
        raise OSError("the connection has ended")
    number: int = driver.fileno()
    return number
