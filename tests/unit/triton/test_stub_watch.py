"""``StubWatch`` on real processes that bear the stub's name: this test process plays their Triton."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from services.triton.stub_watch import StubWatch

Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Gives a function that starts a stub for a path below the repository, ``tmp_path``/models."""
    program = tmp_path / "triton_python_backend_stub"
    shutil.copy(shutil.which("cat") or "", program)
    started: list[subprocess.Popen[bytes]] = []

    def run(path: str) -> subprocess.Popen[bytes]:
        file = tmp_path / "models" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            os.mkfifo(file)  # nobody writes to it, so whoever reads it waits
        process = subprocess.Popen([program, file, "further", "arguments"])
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait(10)


def kill_but_do_not_collect(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.001)


@pytest.fixture
def watch(tmp_path: Path) -> StubWatch:
    return StubWatch(os.getpid(), tmp_path / "models")


def test_living_processes_are_counted_by_version_and_ended_ones_at_all(start: Start, watch: StubWatch) -> None:
    one, *_ = start("m/1/model.onnx"), start("m/1/model.onnx"), start("n/2/model.py")
    assert watch.look() == ({("m", 1): 2, ("n", 2): 1}, 0)
    kill_but_do_not_collect(one)
    assert watch.look() == ({("m", 1): 1, ("n", 2): 1}, 1)
    one.wait(10)
    assert watch.look() == ({("m", 1): 1, ("n", 2): 1}, 0)


def test_what_is_no_model_of_the_repository_belongs_to_nobody(start: Start, tmp_path: Path) -> None:
    start("m/1/model.onnx")
    assert StubWatch(os.getpid(), tmp_path / "elsewhere").look() == ({}, 0)


def test_a_triton_that_is_gone_has_no_processes(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait(10)
    assert StubWatch(ended.pid, tmp_path).look() == ({}, 0)
