"""A published digits model, and ``penstock up`` over it, driven as a user would."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.cli.stack import Endpoints, TritonEndpoint

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "build" / "recipes" / "digits_cnn" / "recipe.yaml"
MODEL = "digits_cnn"


def penstock(*arguments: str, code: int = 0, timeout_s: float = 240.0) -> Any:
    """Run a verb with --json, check its exit code and return its JSON."""
    command = [sys.executable, "-m", "services.cli.main", *arguments, "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == code, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout or done.stderr)


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
    """Return the first true value of a condition."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {timeout_s} s: {what}")


@dataclass
class Up:
    """A running ``penstock up``."""

    process: subprocess.Popen[str]
    endpoints: Endpoints
    repository: Path
    state_dir: Path

    def rollout(self, *arguments: str, code: int = 0) -> Any:
        return penstock("rollout", *arguments, "--controller", self.endpoints.controller_url, code=code)

    def pid_of(self, part: str) -> int:
        """Return the process id of the triton, controller or gateway verb."""
        verbs = {tuple(child.cmdline()[2:4]): child.pid for child in psutil.Process(self.process.pid).children()}
        return verbs["services.cli.main", part]

    def triton_pid(self) -> int | None:
        for child in psutil.Process(self.pid_of("triton")).children():
            if child.name() == "tritonserver":
                return int(child.pid)
        return None

    def data(self, version: int) -> Path:
        return self.repository / MODEL / str(version) / "evaluation.npz"

    def ready(self) -> bool:
        try:
            url = f"http://{self.endpoints.rest}/v2/models/{MODEL}/ready"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def restart(self) -> None:
        """Run ``penstock up`` again on the same repository and state, after the last one ended in whatever way."""
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process, self.endpoints = start_up(self.repository, self.state_dir)


def start_up(repository: Path, state_dir: Path) -> tuple[subprocess.Popen[str], Endpoints]:
    """Run ``penstock up`` and return when it has said where it listens."""
    command = [sys.executable, "-m", "services.cli.main", "up", "--free-ports", "--json"]
    process = subprocess.Popen(
        [*command, "--repository", str(repository), "--state-dir", str(state_dir)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PENSTOCK_CONTROLLER_TICK_S": "0.5"},
    )
    assert process.stdout is not None
    try:
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            line = process.stdout.readline()
            assert line, f"penstock up ended with {process.wait(10)} before it was ready"
            lines.append(line)
        said = json.loads("".join(lines))
        said["tritons"] = tuple(TritonEndpoint(**triton) for triton in said["tritons"])
        return process, Endpoints(**said)
    except BaseException:
        stop_up(process)
        raise


def stop_up(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        process.wait(60)
    if process.stdout is not None:
        process.stdout.close()


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with version 1 (FP32) and version 2 (INT8) of the digits model."""
    repository = tmp_path_factory.mktemp("published") / "model_repository"
    for precision in ("fp32", "int8"):
        penstock("build", str(RECIPE), "--repository", str(repository), "--precision", precision)
    return repository


@contextmanager
def running_up(published: Path, folder: Path, versions: tuple[int, ...]) -> Iterator[Up]:
    """Run ``penstock up`` over a copy of the repository that has only some versions at first."""
    repository, state_dir = folder / "model_repository", folder / "state"
    (repository / MODEL).mkdir(parents=True)
    for item in (published / MODEL).iterdir():
        if item.is_file():
            shutil.copy(item, repository / MODEL / item.name)
    for version in versions:
        shutil.copytree(published / MODEL / str(version), repository / MODEL / str(version))
    up = Up(*start_up(repository, state_dir), repository, state_dir)
    try:
        yield up
        family = psutil.Process(up.process.pid).children(recursive=True)
        up.process.send_signal(signal.SIGTERM)
        assert up.process.wait(60) == 0
        gone, alive = psutil.wait_procs(family, timeout=5)
        assert not alive, f"left behind: {alive}, ended: {gone}"
    finally:
        stop_up(up.process)


@contextmanager
def traffic(up: Up, rate: int = 120) -> Iterator[Callable[[], dict[str, Any]]]:
    """Send digits in the background; the function that is given stops it and returns the totals."""
    command = [sys.executable, "-m", "loadtest.traffic", "--rest", up.endpoints.rest, "--grpc", up.endpoints.grpc]
    process = subprocess.Popen(
        [*command, "--rate", str(rate), "--data", str(up.data(1)), "--json"], stdout=subprocess.PIPE, text=True
    )

    def stop() -> dict[str, Any]:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        totals: dict[str, Any] = json.loads(out)
        return totals

    try:
        yield stop
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
