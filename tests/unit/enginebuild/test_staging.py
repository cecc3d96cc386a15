"""A staging folder lives as long as its build."""

import subprocess
import sys
from pathlib import Path

import pytest
from enginebuild.lock import exclusive, try_lock
from enginebuild.staging import STAGING, claim

from services.core.errors import Conflict

HOLD = """
import os, signal, sys
from pathlib import Path
from enginebuild.staging import claim
with claim(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("x")
    print(folder, flush=True)
    sys.stdin.read()
"""


def holder(repository: Path) -> tuple[subprocess.Popen[str], Path]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(repository)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    return child, Path(child.stdout.readline().strip())


def finish(child: subprocess.Popen[str], *, kill: bool) -> None:
    if kill:
        child.kill()
    child.communicate(timeout=30)


def test_the_staging_area_is_gone_after_a_build_that_ended_or_failed(tmp_path: Path) -> None:
    with claim(tmp_path) as folder:
        assert folder.parent == tmp_path / STAGING
        (folder / "file").write_text("x")
    assert not (tmp_path / STAGING).exists()
    with pytest.raises(RuntimeError), claim(tmp_path):
        raise RuntimeError
    assert not (tmp_path / STAGING).exists()


def test_a_missing_repository_is_made(tmp_path: Path) -> None:
    with claim(tmp_path / "deep" / "repository") as folder:
        assert folder.is_dir()


def test_a_killed_builds_folder_is_cleared_by_the_next_build(tmp_path: Path) -> None:
    child, left = holder(tmp_path)
    finish(child, kill=True)
    assert (left / "half").exists()
    with claim(tmp_path) as folder:
        assert not left.exists()
        assert folder.exists()
    assert not (tmp_path / STAGING).exists()


def test_a_running_builds_folder_is_left_alone(tmp_path: Path) -> None:
    child, theirs = holder(tmp_path)
    try:
        with claim(tmp_path):
            assert (theirs / "half").exists()
        assert (theirs / "half").exists()
    finally:
        finish(child, kill=False)
    assert child.returncode == 0
    assert not (tmp_path / STAGING).exists()


def test_a_lock_that_is_held_is_waited_for_and_then_given_up(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock", 1):
        assert try_lock(tmp_path / "lock") is None
        with pytest.raises(Conflict, match="another build has held this lock"), exclusive(tmp_path / "lock", 0.05):
            pytest.fail("two hold one lock")
    with exclusive(tmp_path / "lock", 0):
        pass
