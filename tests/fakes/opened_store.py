"""A ``SqlStore`` with its database, as the composition root puts them together."""

from __future__ import annotations

import time
from pathlib import Path

from services.controller.election.leadership import Leader, Mandate
from services.controller.election.sql_leadership import begin_term
from services.controller.storage.database import Database
from services.controller.storage.sql_store import SqlStore


def sqlite_url(directory: Path) -> str:
    return f"sqlite:///{directory / 'state' / 'penstock.db'}"


class OpenedStore(SqlStore):
    """Owns its database; leads by epoch 0, the one before the first leader's.

    Args:
        url: SQLAlchemy URL.
        epoch: By which lead it writes; None for none.
    """

    def __init__(self, url: str, epoch: int | None = 0) -> None:
        self.database = Database(url)
        self.mandate = Mandate(Leader("me", "here:9000", "here:9001"), time.monotonic, epoch)
        super().__init__(self.database, self.mandate)

    async def lead_anew(self, least_generation: int = 0, instance: str = "me") -> int:
        """Take the lead over, as an election would."""
        leader = Leader(instance, f"{instance}:9000", f"{instance}:9001")
        epoch = await self.database.run(lambda connection: begin_term(connection, leader, least_generation))
        self.mandate.grant(epoch, float("inf"))
        return epoch

    async def close(self) -> None:
        await self.database.close()
