"""Which replica a running sequence is on. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, TypeVar

Place = TypeVar("Place")
Key = tuple[str, int, str]


class SequenceMemory(Generic[Place]):
    """Places of sequences, by model, version and id; the longest unused is forgotten first.

    A sequence's state lives in one Triton. Replicas come and go, and with them the choice that a hash would make; this
    memory keeps a sequence where it began for as long as that replica lives.

    Args:
        size: Most sequences.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._places: OrderedDict[Key, Place] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: Key) -> Place | None:
        """Return where the sequence is; None for one that is not known."""
        place = self._places.get(key)
        if place is not None:
            self._places.move_to_end(key)
        return place

    def put(self, key: Key, place: Place) -> None:
        """Note where it is."""
        self._places[key] = place
        self._places.move_to_end(key)
        if len(self._places) > self._size:
            self._places.popitem(last=False)

    def places(self) -> Iterable[Place]:
        """Return where each is."""
        return self._places.values()

    def drop(self, key: Key) -> None:
        """Forget one that has ended."""
        self._places.pop(key, None)
