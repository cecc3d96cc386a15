"""One worker's shared memory, and who has which part of it.

The file under ``/dev/shm`` is the worker's alone (mode 0600). The worker holds a lock on it while it lives, so anybody
can tell a file that was left behind. All of it is taken from the system before the first byte is used: a full
``/dev/shm`` is then a refusal here, and no SIGBUS in the middle of a request.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
from bisect import insort
from collections.abc import Callable
from pathlib import Path

DIRECTORY = Path("/dev/shm")  # noqa: S108 - POSIX shared memory, not a temporary file
PREFIX = "penstock-arena-"
# Parts begin at a page, so that a tensor at the beginning of one suits every kernel.
_ALIGNMENT = 4096
# /dev/shm is others' too, Triton's Python-based models' first of all.
_LEAST_LEFT = 2

_log = logging.getLogger(__name__)


class Place:
    """A part of an arena that somebody has; ends with ``free`` or ``rest``, once.

    Attributes:
        begin: Where it begins in the arena, bytes.
        size: Its size, bytes.
        view: The memory.
    """

    __slots__ = ("_arena", "begin", "size", "view")

    def __init__(self, arena: Arena, begin: int, size: int, view: memoryview) -> None:
        self._arena = arena
        self.begin = begin
        self.size = size
        self.view = view

    def free(self) -> None:
        """Give it back."""
        self.view.release()
        self._arena.give_back(self.begin, self.size)

    def rest(self) -> None:
        """Give it back, to be used again only later: somebody may still be reading it."""
        self.view.release()
        self._arena.give_back_later(self.begin, self.size)


class Arena:
    """Hands out parts of one shared memory file, which is made when it is first needed.

    Args:
        name: Whose it is; unique.
        size: Its size, bytes.
        rest_s: How long a part rests.
        clock: Seconds, monotonic.
        directory: Where the file is.
    """

    def __init__(
        self, name: str, size: int, rest_s: float, clock: Callable[[], float], directory: Path = DIRECTORY
    ) -> None:
        self.key = f"/{PREFIX}{name}"
        self.size = size
        self._rest_s = rest_s
        self._clock = clock
        self._path = directory / f"{PREFIX}{name}"
        self._memory: mmap.mmap | None = None
        self._whole = memoryview(b"")
        self._held: int | None = None  # the file, whose lock says that we live
        self._named = False
        self._useless = False
        self._free: list[tuple[int, int]] = []  # begin and size, by begin; no two touch
        self._resting: list[tuple[float, int, int]] = []  # until when, begin and size
        self._given = 0

    @property
    def held_bytes(self) -> int:
        """Bytes that somebody has."""
        return self._given

    @property
    def is_quiet(self) -> bool:
        """Whether nobody has a part of it, and nobody may still be reading one."""
        self._wake()
        return not self._given and not self._resting

    def open(self) -> bool:
        """Make sure that the memory is there; False where it cannot be had."""
        if self._memory is None and not self._useless:
            try:
                self._make()
            except OSError as error:
                self._useless = True
                self.close()
                _log.warning("no shared memory for large tensors: %s; they go through sockets", error)
        return self._memory is not None

    def take(self, size: int) -> Place | None:
        """Return a part of so many bytes; None where there is no room."""
        self._wake()
        size = -(-size // _ALIGNMENT) * _ALIGNMENT
        for number, (begin, room) in enumerate(self._free):
            if room >= size:
                if room == size:
                    del self._free[number]
                else:
                    self._free[number] = (begin + size, room - size)
                self._given += size
                return Place(self, begin, size, self._whole[begin : begin + size])
        return None

    def give_back(self, begin: int, size: int) -> None:
        """Take a part back; called by it."""
        self._given -= size
        if self._memory is not None:
            self._join(begin, size)

    def give_back_later(self, begin: int, size: int) -> None:
        """Take a part back that rests first; called by it."""
        self._given -= size
        if self._memory is not None:
            self._resting.append((self._clock() + self._rest_s, begin, size))

    def close(self) -> None:
        """Remove the file. Whoever has a part of it, or Triton, keeps the memory until it lets go."""
        if self._held is not None:
            if self._named:
                self._path.unlink(missing_ok=True)
            os.close(self._held)
            self._held = None
        self._memory = None
        self._useless = True
        self._free, self._resting = [], []

    def _make(self) -> None:
        room = os.statvfs(self._path.parent)
        if room.f_bavail * room.f_frsize < _LEAST_LEFT * self.size:
            raise OSError(f"{self._path.parent} has less than {_LEAST_LEFT * self.size} bytes left")
        # It gets its name only when it is locked: nobody takes it for one that was left behind.
        unnamed = self._path.with_name(f".{self._path.name}")
        self._held = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._path.exists():
                raise FileExistsError(f"{self._path} is somebody else's")
            unnamed.rename(self._path)
            self._named = True
        finally:
            unnamed.unlink(missing_ok=True)
        os.posix_fallocate(self._held, 0, self.size)
        self._memory = mmap.mmap(self._held, self.size)
        self._whole = memoryview(self._memory)
        self._free = [(0, self.size)]

    def _wake(self) -> None:
        """Take in what has rested; it comes in the order in which it began to."""
        if self._resting and self._resting[0][0] <= self._clock():
            now = self._clock()
            over = [part for part in self._resting if part[0] <= now]
            self._resting = self._resting[len(over) :]
            for _, begin, size in over:
                self._join(begin, size)

    def _join(self, begin: int, size: int) -> None:
        """Add a part to the free ones, one with its neighbours."""
        insort(self._free, (begin, size))
        joined: list[tuple[int, int]] = []
        for at, room in self._free:
            if joined and joined[-1][0] + joined[-1][1] == at:
                joined[-1] = (joined[-1][0], joined[-1][1] + room)
            else:
                joined.append((at, room))
        self._free = joined


def remove_abandoned(directory: Path = DIRECTORY) -> int:
    """Remove the files whose workers are gone, and return how many there were."""
    removed = 0
    for path in directory.glob(f"{PREFIX}*"):
        try:
            held = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # gone meanwhile, or somebody else's
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            removed += 1
        except OSError:
            continue  # its worker lives, or it is somebody else's
        finally:
            os.close(held)
    return removed
