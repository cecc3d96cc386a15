"""Which version answered which request of an A/B test: one table of a gateway, which all its workers read and write.

The hash is of the model, the test and the request's id, so nothing is known of an earlier test. A cell holds 40 bits of
it and the version's number in 24. Its place is given by other bits of the hash, so a newer request takes the cell of an
older one: after a tenth as many later requests as there are cells, nine in ten are still remembered, and after as many
a third. An aligned 8-byte store is atomic on the machines that run Triton, so no worker ever sees half a cell, and none
needs a lock. That a request is taken for another one has a probability of 2^-40.
"""

from __future__ import annotations

import mmap
from hashlib import blake2b
from pathlib import Path

CELLS = 1 << 20
_CELL_BYTES = 8
_VERSION_BITS = 24
_LARGEST_VERSION = (1 << _VERSION_BITS) - 1


def create_answer_memory(path: Path) -> None:
    """Make an empty table, sparse and readable by its owner only; an earlier one is forgotten."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        path.chmod(0o600)
        file.truncate(CELLS * _CELL_BYTES)


class AnswerMemory:
    """One worker's view of the table.

    Args:
        path: The file that ``create_answer_memory`` made.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._cells = memoryview(mmap.mmap(file.fileno(), CELLS * _CELL_BYTES)).cast("Q")

    def remember(self, model: str, test: int, request_id: str, version: int) -> None:
        """Note who answered; of a version beyond 2^24 its client has to name it.

        Args:
            model: The model.
            test: The test, as the generation of the route table that brought it.
            request_id: The id that the client gave the request.
            version: The version that answered.
        """
        if version <= _LARGEST_VERSION:
            place, tag = _place(model, test, request_id)
            self._cells[place] = tag | version

    def version_of(self, model: str, test: int, request_id: str) -> int | None:
        """Return the version that answered a request of a test last; None where that is not known any more."""
        place, tag = _place(model, test, request_id)
        cell = self._cells[place]
        return cell & _LARGEST_VERSION if cell and cell & ~_LARGEST_VERSION == tag else None


def _place(model: str, test: int, request_id: str) -> tuple[int, int]:
    digest = int.from_bytes(blake2b(f"{model}\0{test}\0{request_id}".encode(), digest_size=8).digest(), "little")
    return digest % CELLS, digest & ~_LARGEST_VERSION
