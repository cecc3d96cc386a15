"""`penstock models tune` against a real Triton: a model of known knee, killed in the middle, asked again."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadtest.sleeping_model import SleepingModel

pytestmark = [pytest.mark.integration, pytest.mark.measured]
MODEL = SleepingModel("knee", 4, 0.010, 0.0005)
# One instance with batches of 4 carries 4 / 12 ms = 333 requests/s, one with batches of 1 carries 95.
AXES = ["--instances", "1", "--max-batch", "1,4", "--delay-us", "0", "--preferred", "none"]
ONE = ["--max-batch", "1"]


def command(repository: Path, out: Path, *options: str) -> list[str]:
    words = [sys.executable, "-m", "services.cli.main", "models", "tune", MODEL.name, "--json", *AXES, *options]
    return [*words, "--repository", str(repository), "--out", str(out), "--window-s", "0.5"]


def run(repository: Path, out: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(command(repository, out, *options), capture_output=True, text=True, timeout=240, check=False)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def running(repository: Path) -> list[psutil.Process]:
    """Return the Tritons that serve a repository."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            found += [process] if str(repository) in " ".join(words) and words[0].endswith("tritonserver") else []
    return found


def within_30_s(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    return condition()


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def test_the_best_is_found_and_an_interrupted_tuning_goes_on(tmp_path: Path) -> None:
    repository, out = tmp_path / "repository", tmp_path / "out"
    MODEL.publish(repository)
    config = (repository / MODEL.name / "config.pbtxt").read_bytes()
    begun = subprocess.Popen(
        command(repository, out, "--slo", "p99=100ms", "--exhaustive"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while lines(out / "trials.jsonl") < 2 and begun.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        begun.kill()
        begun.wait(60)
    assert within_30_s(lambda: not running(repository)), "its Triton outlived it"
    there = lines(out / "trials.jsonl")
    assert there >= 2  # the question and a trial
    code, document, err = run(repository, out, "--slo", "p99=100ms", "--exhaustive")
    assert code == 0, err
    assert len(document["trials"]) == 2
    best = document["best"]
    assert (best["instances"], best["max_batch"]) == (1, 4)
    assert 150 < document["goodput_per_s"] < 334
    assert {path.name for path in out.iterdir()} == {
        "trials.jsonl", "evidence.json", "config.pbtxt", "serving.yaml", "goodput.svg"
    }  # fmt: skip
    assert (repository / MODEL.name / "config.pbtxt").read_bytes() == config
    started = [trial["started"] for trial in document["trials"]]
    assert started == sorted(started)

    code, _, err = run(repository, out, "--slo", "p99=90ms")
    assert code == 2
    assert "is of another tuning" in json.loads(err.splitlines()[-1])["error"]


def test_a_trial_in_which_triton_died_is_not_counted(tmp_path: Path) -> None:
    repository, out = tmp_path / "repository", tmp_path / "out"
    MODEL.publish(repository)
    tuning = subprocess.Popen(command(repository, out, "--slo", "p99=100ms", "--exhaustive"), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while lines(out / "trials.jsonl") < 2 and tuning.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.0)  # the second trial has begun, and takes seconds
        for triton in running(repository):
            triton.kill()
        assert tuning.wait(240) == 0
    finally:
        tuning.kill()
        tuning.wait(60)
    document = json.loads((out / "evidence.json").read_text())
    assert [(trial["error"], trial["triton_ended"]) for trial in document["trials"]] == [("", 0), ("", 1)]
    assert document["best"]["max_batch"] == 4


def test_an_slo_that_nothing_keeps_ends_with_1_and_leaves_its_evidence(tmp_path: Path) -> None:
    MODEL.publish(tmp_path / "repository")
    code, document, err = run(tmp_path / "repository", tmp_path / "out", "--slo", "p99=5ms", *ONE)
    assert code == 1, err
    assert document["best"] is None
    assert (tmp_path / "out" / "evidence.json").is_file()
    assert not (tmp_path / "out" / "config.pbtxt").exists()
    assert "no configuration of 1 keeps p99=5ms" in err
