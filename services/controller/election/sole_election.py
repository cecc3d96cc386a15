"""The lead of the one controller that an SQLite database may have."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable

from services.controller.election.leadership import Leader
from services.controller.election.sql_leadership import begin_term
from services.controller.storage.database import Database
from services.core.errors import Unavailable
from services.process.lock import ProcessLock

_LOG = logging.getLogger(__name__)
_AGAIN_S = 0.5


def sole_lock(database: Database) -> contextlib.AbstractContextManager[object]:
    """Return what the one controller of an SQLite database holds while it runs; nothing for other databases.

    Entering it raises ``ConfigurationError`` where another controller runs.
    """
    path = database.file
    if path is None:
        return contextlib.nullcontext()
    return ProcessLock(path.with_name(f"{path.name}.lock"), f"a controller with the database {path}")


class SoleElection:
    """The ``Election`` that nobody else takes part in; whoever uses it holds ``sole_lock``.

    Args:
        database: Where the epoch is kept.
        me: This process.
        least_generation: As in ``begin_term``.
    """

    def __init__(self, database: Database, me: Leader, least_generation: int) -> None:
        self._database = database
        self._me = me
        self._least_generation = least_generation

    async def win(self) -> tuple[int, float]:
        """Begin an epoch as soon as the database answers."""
        known = ""
        while True:
            try:
                epoch = await self._database.run(lambda c: begin_term(c, self._me, self._least_generation))
            except Unavailable as error:
                if error.message != known:
                    _LOG.warning("this controller cannot begin: %s", error)
                known = error.message
                await asyncio.sleep(_AGAIN_S)
            else:
                return epoch, math.inf

    async def lose(self, extend: Callable[[float], None]) -> str:  # noqa: ARG002 - the port's signature
        """Wait for ever: nobody else can lead."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError("a future that nobody sets never ends")

    async def resign(self) -> None:
        """Leave the epoch to whoever comes next."""
