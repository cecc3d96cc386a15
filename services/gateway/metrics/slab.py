"""One worker's counters in a file that its parent maps too: no lock, no message, no work for the parent per request.

A slab is an array of unsigned 64-bit cells: a header, then records that are only ever appended.

    header   magic | used cells | state | in flight | route generation | models without room | 2 spare
    record   value cells | key bytes | the key as JSON, padded to cells | values

One process writes. An aligned 8-byte store is atomic on the machines that run Triton, so a reader sees each counter
either before or after an increment. Two counters may differ by the request that is being counted at that moment.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

SeriesKey = tuple[str, ...]
Values = npt.NDArray[np.uint64]

SLAB_BYTES = 16 * 1024 * 1024  # sparse: only what is written takes memory
_MAGIC = 0x31424C5354534E50  # "PNSTSLB1"
_CELL_BYTES = 8
_USED, _STATE, _IN_FLIGHT, _GENERATION, _WITHOUT_ROOM = 1, 2, 3, 4, 5
_HEADER_CELLS = 8
_RECORD_HEAD_CELLS = 2


class WorkerState(IntEnum):
    """How far a worker is."""

    STARTING = 0
    LISTENING = 1
    DRAINING = 2


class Record(NamedTuple):
    """One series of a slab: its key and a copy of its values."""

    key: SeriesKey
    values: Values


def create_slab_file(path: Path, size_bytes: int = SLAB_BYTES) -> None:
    """Make an empty slab file, sparse and readable by its owner only."""
    with path.open("xb") as file:
        path.chmod(0o600)
        file.truncate(size_bytes)


def _map(path: Path) -> memoryview:
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")


class SlabWriter:
    """The worker's side.

    Attributes:
        cells: All cells; whoever got a start index from ``allocate`` increments from there on.
    """

    def __init__(self, path: Path) -> None:
        self.cells = _map(path)
        self.cells[_USED] = _HEADER_CELLS
        self.cells[0] = _MAGIC

    def allocate(self, key: SeriesKey, size: int) -> int | None:
        """Append a series of ``size`` zeroed cells and return the index of the first, or None when the slab is full."""
        text = orjson.dumps(key)
        key_cells = -(-len(text) // _CELL_BYTES)
        start = self.cells[_USED]
        values = start + _RECORD_HEAD_CELLS + key_cells
        if values + size > len(self.cells):
            return None
        self.cells[start] = size
        self.cells[start + 1] = len(text)
        self.cells[start + _RECORD_HEAD_CELLS : values] = memoryview(text.ljust(key_cells * _CELL_BYTES)).cast("Q")
        self.cells[_USED] = values + size  # last: a reader sees a record completely or not at all
        return values

    def set_state(self, state: WorkerState) -> None:
        """Tell the parent how far this worker is."""
        self.cells[_STATE] = state

    def set_in_flight(self, count: int) -> None:
        """Publish the number of requests that are being forwarded."""
        self.cells[_IN_FLIGHT] = count

    def set_generation(self, generation: int) -> None:
        """Publish the generation of the route table that is served."""
        self.cells[_GENERATION] = generation

    def set_without_room(self, models: int) -> None:
        """Publish of how many models not everything can be counted any more."""
        self.cells[_WITHOUT_ROOM] = models


class SlabReader:
    """The parent's side, and the worker's own when it builds its report."""

    def __init__(self, path: Path) -> None:
        self._cells = _map(path)
        self._known: list[tuple[SeriesKey, int, int]] = []  # key, first and one past the last value cell
        self._read_to = _HEADER_CELLS

    @property
    def state(self) -> WorkerState:
        """How far the worker is."""
        return WorkerState(self._cells[_STATE])

    @property
    def in_flight(self) -> int:
        """Requests that are being forwarded now."""
        return self._cells[_IN_FLIGHT]

    @property
    def generation(self) -> int:
        """Generation of the route table that the worker serves."""
        return self._cells[_GENERATION]

    @property
    def without_room(self) -> int:
        """Of how many models not everything can be counted any more."""
        return self._cells[_WITHOUT_ROOM]

    @property
    def room_used(self) -> float:
        """The share of the cells that is taken, from 0 to 1."""
        return self._cells[_USED] / len(self._cells)

    def keys(self) -> Iterator[SeriesKey]:
        """Return the key of every series."""
        if self._cells[0] == _MAGIC:
            self._learn()
        return (key for key, _, _ in self._known)

    def records(self, families: frozenset[str] | None = None) -> Iterator[Record]:
        """Return every series, or those of some families, with its values of this moment."""
        if self._cells[0] != _MAGIC:
            return  # the worker has not opened it yet
        self._learn()
        for key, begin, end in self._known:
            if families is not None and key[0] not in families:
                continue
            yield Record(key, np.array(self._cells[begin:end], dtype=np.uint64))

    def _learn(self) -> None:
        """Read the keys of the records that were appended since; a record never moves or changes its key."""
        cells, at, end = self._cells, self._read_to, self._cells[_USED]
        while at < end:
            size, key_bytes = cells[at], cells[at + 1]
            key_at = at + _RECORD_HEAD_CELLS
            values_at = key_at + -(-key_bytes // _CELL_BYTES)
            text = cells[key_at:values_at].tobytes()[:key_bytes]
            self._known.append((tuple(orjson.loads(text)), values_at, values_at + size))
            at = values_at + size
        self._read_to = at
