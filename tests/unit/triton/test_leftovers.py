"""What a killed Triton leaves, told apart from everything else on the machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from services.triton.leftovers import RunRecord, end_run, new_prefix, processes_of, remove_shared_memory

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"


def test_only_the_regions_of_the_run_are_removed(tmp_path: Path) -> None:
    mine, other = new_prefix(), new_prefix()
    for name in (f"{mine}a", f"{mine}b", f"{other}a", "sem.somebody", "triton_python_backend_shm_region_x"):
        (tmp_path / name).write_text("")
    assert remove_shared_memory(mine, tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f"{other}a", "sem.somebody", "triton_python_backend_shm_region_x"]
    )


@pytest.mark.parametrize("prefix", ["", "*", "triton_", "../penstock_"])
def test_a_prefix_that_is_not_ours_removes_nothing(tmp_path: Path, prefix: str) -> None:
    (tmp_path / "triton_x").write_text("")
    with pytest.raises(ValueError, match="not one of ours"):
        remove_shared_memory(prefix, tmp_path)
    assert (tmp_path / "triton_x").exists()


def test_processes_are_known_by_the_prefix_and_the_stubborn_are_killed() -> None:
    prefix, other = new_prefix(), new_prefix()
    started = [
        subprocess.Popen([sys.executable, "-c", STUBBORN, f"{name}region"], stdout=subprocess.PIPE)
        for name in (prefix, other)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        assert [process.pid for process in processes_of(prefix)] == [started[0].pid]
        end_run(prefix, grace_s=0.05)
        assert not psutil.pid_exists(started[0].pid)
        assert started[1].poll() is None
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_the_processes_of_models_are_not_waited_for_when_the_server_is_gone() -> None:
    """They heed no SIGTERM; a grace that is longer than the test's bound shows that none was given."""
    prefix = new_prefix()
    obedient = "import time; print(1, flush=True); time.sleep(60)"
    server = [sys.executable, "-c", obedient, f"--backend-config=python,shm-region-prefix-name={prefix}"]
    model = [sys.executable, "-c", STUBBORN, "m_0", f"{prefix}region"]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in (server, model)]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        end_run(prefix, grace_s=600.0)
        assert not any(psutil.pid_exists(process.pid) for process in started)
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_a_run_is_remembered_until_it_was_cleaned_up(tmp_path: Path) -> None:
    record = RunRecord(tmp_path / "state" / "run.json")
    assert record.read() is None
    prefix = new_prefix()
    record.write(prefix)
    assert RunRecord(tmp_path / "state" / "run.json").read() == prefix
    record.clear()
    record.clear()
    assert record.read() is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"prefix": "/"}', '{"prefix": 3}'])
def test_a_damaged_record_cleans_up_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert RunRecord(tmp_path / "run.json").read() is None


def test_a_disk_that_takes_nothing_does_not_end_the_supervision(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    record = RunRecord(tmp_path / "file" / "run.json")
    record.write(new_prefix())
    record.clear()
    assert record.read() is None
