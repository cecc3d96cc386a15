"""Makes a verdict of a rollout's history again, from nothing but its record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.controller.storage.documents import judged_from, verdict_document
from services.core.errors import IntegrityError


@dataclass(frozen=True, slots=True)
class Replayed:
    """A verdict, as it was stored and as its evidence gives it here.

    Attributes:
        at: When it was made, seconds since the epoch.
        stored: As it was stored.
        made: As it is made again.
    """

    at: float
    stored: Any
    made: Any

    @property
    def same(self) -> bool:
        """Whether both agree in every number and word."""
        return bool(self.stored == self.made)

    @property
    def text(self) -> str:
        """The same for a person."""
        if self.same:
            return f"replayed: {self.made['outcome']}, the same in every number"
        return f"replayed: {self.made['outcome']} where {self.stored['outcome']} is stored, or with other numbers"

    @property
    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"at": self.at, "same": self.same, "stored": self.stored, "made": self.made}


def replayed(line: dict[str, Any]) -> Replayed:
    """Return a line's verdict, made again.

    Raises:
        IntegrityError: The record is none that this version of Penstock wrote, or it was changed.
    """
    try:
        judged = judged_from(line["judged"])
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"the record of the verdict at {line.get('at')} cannot be read ({error}); it was changed, or another "
            "version of penstock wrote it"
        ) from error
    if judged is None:
        raise IntegrityError(f"there is no record of a verdict at {line.get('at')}")
    return Replayed(line["at"], verdict_document(judged.verdict), verdict_document(judged.replayed()))
