"""One thing that changed, and its form on the wire. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

HEARTBEAT = b": alive\n\n"


@dataclass(frozen=True, slots=True)
class Notice:
    """What subscribers are told.

    Attributes:
        number: Grows by one with every notice of a feed.
        kind: ``rollout`` or ``models``.
        subject: The rollout's id; empty where it concerns all.
        data: A JSON document.
        final: Whether nothing more will be told of the subject.
    """

    number: int
    kind: str
    subject: str
    data: bytes
    final: bool = False

    def frame(self, epoch: str) -> bytes:
        """Return it as an event stream's block (https://html.spec.whatwg.org/multipage/server-sent-events.html).

        Args:
            epoch: Tells this feed from that of another process, whose numbers begin again.
        """
        return b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (epoch.encode(), self.number, self.kind.encode(), self.data)


def document(value: dict[str, Any]) -> bytes:
    """Return a document in one line, as an event's data must be."""
    return orjson.dumps(value)


def number_in(event_id: str, epoch: str) -> int | None:
    """Return the number in an id that this feed gave; None where another one did, or nobody."""
    prefix, _, number = event_id.rpartition("-")
    if prefix != epoch or not number.isascii() or not number.isdecimal() or len(number) > len(str(2**63)):
        return None
    return int(number)
