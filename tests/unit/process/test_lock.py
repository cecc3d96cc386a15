"""A lock between processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.core.errors import ConfigurationError
from services.process.lock import ProcessLock


def test_one_holder_at_a_time_and_the_second_learns_who(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.lock"
    words = rf"a thing is already running \(process {os.getpid()}\)"
    with ProcessLock(path, "a thing"), pytest.raises(ConfigurationError, match=words):
        ProcessLock(path, "a thing").acquire()
    with ProcessLock(path, "a thing"):
        pass


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    code = f"""
import os, pathlib, signal
from services.process.lock import ProcessLock
ProcessLock(pathlib.Path({str(path)!r}), "x").acquire()
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False)
    with ProcessLock(path, "x"):
        pass


def test_a_directory_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="name another directory"):
        ProcessLock(tmp_path / "file" / "x.lock", "x").acquire()
