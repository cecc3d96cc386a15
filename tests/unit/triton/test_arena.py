"""The arena: who has which part of it, its file, and what is left of it when its process is gone."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.triton.shared_memory.arena import PREFIX, Arena, Place, remove_abandoned
from tests.fakes.clock import FakeClock

PAGE = 4096
SIZE = 16 * PAGE
REST_S = 60.0
ROOT = Path(__file__).parents[3]
Span = tuple[int, int]


def arena_in(directory: Path, clock: FakeClock | None = None, size: int = SIZE, name: str = "mine") -> Arena:
    return Arena(name, size, REST_S, clock or FakeClock(), directory)


def taken(arena: Arena, size: int) -> Place:
    place = arena.take(size)
    assert place is not None
    return place


def is_quiet(arena: Arena) -> bool:
    return arena.is_quiet


def is_locked(path: Path) -> bool:
    with path.open("rb+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def widest_gap(spans: list[Span]) -> int:
    """Return the largest room between parts that are in use."""
    widest, end = 0, 0
    for begin, size in sorted(spans):
        widest, end = max(widest, begin - end), begin + size
    return max(widest, SIZE - end)


class ArenaMachine(RuleBasedStateMachine):
    """Takes, frees and rests parts in any order, beside a model that knows only which spans are in use."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.arena = arena_in(Path(self.folder.name), self.clock)
        assert self.arena.open()
        self.living: list[tuple[Place, int, bytes]] = []
        self.resting: list[tuple[float, Span]] = []
        self.marks = 0

    def in_use(self) -> list[Span]:
        rest = [span for until, span in self.resting if until > self.clock()]
        return [(place.begin, size) for place, size, _ in self.living] + rest

    @rule(size=st.integers(1, SIZE + 1))
    def take(self, size: int) -> None:
        whole = -(-size // PAGE) * PAGE
        gap = widest_gap(self.in_use())
        place = self.arena.take(size)
        assert (place is None) == (whole > gap), "there is room exactly where the model sees it, neighbours joined"
        if place is None:
            return
        assert place.begin % PAGE == 0
        assert len(place.view) == place.size == whole
        self.marks = self.marks % 255 + 1
        mark = bytes([self.marks])
        place.view[:] = mark * whole
        self.living.append((place, whole, mark))

    @precondition(lambda self: self.living)
    @rule(which=st.integers(0, 1000))
    def free(self, which: int) -> None:
        place, size, mark = self.living.pop(which % len(self.living))
        assert place.view.tobytes() == mark * size, "nobody else wrote there"
        place.free()

    @precondition(lambda self: self.living)
    @rule(which=st.integers(0, 1000))
    def rest(self, which: int) -> None:
        place, size, _ = self.living.pop(which % len(self.living))
        self.resting.append((self.clock() + REST_S, (place.begin, size)))
        place.rest()

    @rule(seconds=st.sampled_from([1.0, REST_S / 2, REST_S]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def no_two_parts_overlap(self) -> None:
        end = 0
        for begin, size in sorted(self.in_use()):
            assert begin >= end
            end = begin + size
        assert end <= SIZE

    @invariant()
    def what_somebody_has_is_counted(self) -> None:
        assert self.arena.held_bytes == sum(size for _, size, _ in self.living)
        assert self.arena.is_quiet == (not self.in_use())

    def teardown(self) -> None:
        while self.living:
            self.free(0)
        self.clock.advance(REST_S)
        assert self.arena.is_quiet
        whole = taken(self.arena, SIZE)
        assert whole.begin == 0, "everything came back, in one piece"
        whole.free()
        self.arena.close()
        assert os.listdir(self.folder.name) == []  # noqa: PTH208 - it is the name of a temporary directory
        self.folder.cleanup()


TestNoTwoPartsOverlapAndEverythingComesBack = ArenaMachine.TestCase
TestNoTwoPartsOverlapAndEverythingComesBack.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_part_that_rests_is_nobodys_until_its_time_is_over(tmp_path: Path) -> None:
    clock = FakeClock()
    arena = arena_in(tmp_path, clock)
    assert arena.open()
    taken(arena, SIZE).rest()
    assert arena.held_bytes == 0
    assert not is_quiet(arena)
    clock.advance(REST_S - 0.001)
    assert arena.take(1) is None
    clock.advance(0.001)
    assert is_quiet(arena)
    taken(arena, SIZE).free()
    arena.close()


def test_parts_that_are_given_back_in_any_order_are_one_again(tmp_path: Path) -> None:
    arena = arena_in(tmp_path)
    assert arena.open()
    parts = [taken(arena, PAGE) for _ in range(16)]
    assert arena.take(1) is None
    for part in parts[::2]:
        part.free()
    assert arena.take(2 * PAGE) is None, "half of it is free, but no two pages side by side"
    for part in reversed(parts[1::2]):
        part.free()
    taken(arena, SIZE).free()
    arena.close()


def test_what_is_written_is_what_another_process_reads(tmp_path: Path) -> None:
    arena = arena_in(tmp_path)
    assert arena.open()
    taken(arena, PAGE)
    place = taken(arena, 5)
    place.view[:5] = b"hello"
    path = tmp_path / f"{PREFIX}mine"
    with path.open("rb") as file:
        file.seek(place.begin)
        assert file.read(5) == b"hello"
    assert path.stat().st_size == SIZE
    arena.close()


def test_the_file_is_the_owners_alone_and_locked_for_as_long_as_it_lives(tmp_path: Path) -> None:
    arena = arena_in(tmp_path)
    assert list(tmp_path.iterdir()) == [], "nothing is taken before it is needed"
    assert arena.take(1) is None
    assert arena.open()
    assert arena.open(), "again is no second file"
    (path,) = tmp_path.iterdir()
    assert path.name == f"{PREFIX}mine" == arena.key[1:]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_blocks * 512 >= SIZE, "all of it is taken from the system beforehand"
    assert is_locked(path)
    assert remove_abandoned(tmp_path) == 0
    arena.close()
    assert list(tmp_path.iterdir()) == []
    assert not arena.open(), "what is closed stays closed"
    assert list(tmp_path.iterdir()) == []
    arena.close()


def test_parts_that_come_back_after_the_end_do_no_harm(tmp_path: Path) -> None:
    arena = arena_in(tmp_path)
    assert arena.open()
    first, second = taken(arena, PAGE), taken(arena, PAGE)
    first.view[:4] = b"kept"
    arena.close()
    assert bytes(first.view[:4]) == b"kept", "whoever has a part can still use it"
    first.free()
    second.rest()
    assert arena.held_bytes == 0
    assert arena.is_quiet
    assert arena.take(1) is None


def refused(caplog: pytest.LogCaptureFixture, arena: Arena) -> list[str]:
    """Ask twice for memory that cannot be had, and return the warnings."""
    with caplog.at_level(logging.INFO):
        assert not arena.open()
        assert not arena.open()
    assert arena.take(1) is None
    arena.close()
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    return [record.getMessage() for record in caplog.records]


def test_a_system_with_too_little_memory_left_is_a_warning_and_leaves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (said,) = refused(caplog, arena_in(tmp_path, size=1 << 50))
    assert "less than" in said
    assert "sockets" in said
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (said,) = refused(caplog, arena_in(tmp_path / "nowhere"))
    assert "nowhere" in said


def test_a_file_that_is_somebody_elses_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs = tmp_path / f"{PREFIX}mine"
    theirs.write_bytes(b"theirs")
    assert len(refused(caplog, arena_in(tmp_path))) == 1
    assert theirs.read_bytes() == b"theirs"


def child(code: str, directory: Path) -> subprocess.Popen[bytes]:
    """Run code in a process of its own, which has made the arena ``child`` when it prints a line."""
    head = (
        "import sys, time\nfrom pathlib import Path\n"
        "from services.triton.shared_memory.arena import Arena\n"
        f"arena = Arena('child', {SIZE}, 1.0, time.monotonic, Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", head + code, str(directory)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_memory_that_the_system_does_not_give_after_all_is_a_warning_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({SIZE // 2}, {SIZE // 2}))\n"
        "print(arena.open(), list(Path(sys.argv[1]).iterdir()))\n"
    )
    with child(code, tmp_path) as process:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out == b"False []\n"
    assert b"no shared memory for large tensors" in err


def test_only_what_dead_processes_left_is_removed(tmp_path: Path) -> None:
    mine = arena_in(tmp_path)
    assert mine.open()
    other = tmp_path / "penstock-other"
    other.write_bytes(b"no arena")
    (tmp_path / f"{PREFIX}folder").mkdir()
    with child("assert arena.open()\nprint('open', flush=True)\nsys.stdin.read()\n", tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        theirs = tmp_path / f"{PREFIX}child"
        assert is_locked(theirs)
        assert remove_abandoned(tmp_path) == 0
        assert theirs.exists(), "its owner lives"
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        assert theirs.exists(), "nobody could remove it"
        assert remove_abandoned(tmp_path) == 1
        assert not theirs.exists()
    assert remove_abandoned(tmp_path) == 0
    assert other.exists()
    place = taken(mine, PAGE)
    place.view[:4] = b"fine"
    place.free()
    mine.close()


def test_where_there_is_no_directory_there_is_nothing_to_remove(tmp_path: Path) -> None:
    assert remove_abandoned(tmp_path / "nowhere") == 0
