"""``penstock models push`` and ``pull`` with MLflow, driven as a user would; nothing but the server is ever asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.running_mlflow import RunningMlflow
from tests.fakes.store_contract import expect_the_same, published

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0
# Runs the command in a process that dies as soon as it asks anybody but this machine.
WATCHED = """
import os, sys

def watch(event, arguments):
    host = {"socket.connect": lambda: arguments[1], "socket.getaddrinfo": lambda: arguments[:2]}.get(event)
    here = ("127.0.0.1", b"127.0.0.1", "localhost", "::1")
    if host is not None and isinstance(host(), tuple) and host()[0] not in here:
        os.write(2, f"asked {host()}".encode())
        os._exit(99)

sys.addaudithook(watch)
from services.cli.main import main
main(sys.argv[1:])
"""
# By these MLflow sees that it is in a test or a CI, where it keeps silent by itself.
_TELLTALES = ("CI", "PYTEST_CURRENT_TEST", "GITHUB_ACTIONS", "GITLAB_CI", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")


def penstock(*arguments: str, code: int = 0, **environment: str) -> Any:
    kept = {name: value for name, value in os.environ.items() if name not in _TELLTALES}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments, "--json"],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == code, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout or done.stderr)


def test_a_version_goes_there_and_back_and_json_is_all_that_is_printed(mlflow: RunningMlflow, tmp_path: Path) -> None:
    repository, elsewhere = published(tmp_path / "repository"), tmp_path / "elsewhere"
    url = f"mlflow+{mlflow.address}?name=sums {uuid4().hex}&alias=production"
    pushed = penstock("models", "push", "sums", "1", "--to", url, "--repository", str(repository))
    assert (pushed["version"], pushed["url"]) == (1, url)
    pulled = penstock("models", "pull", "sums", "--from", url, "--repository", str(elsewhere))
    assert pulled["version"] == 1
    expect_the_same(repository, elsewhere, 1)


def test_what_goes_wrong_is_one_line_with_what_to_do(tmp_path: Path) -> None:
    repository = str(published(tmp_path / "repository"))
    push = ("models", "push", "sums", "1", "--repository", repository, "--to")
    impatient = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    said = penstock(*push, "mlflow+http://127.0.0.1:9", code=1, **impatient)["error"]
    assert said.startswith("MLflow at http://127.0.0.1:9 does not")
    said = penstock(*push, "mlflow:", code=2, MLFLOW_TRACKING_URI="")["error"]
    assert said == "which MLflow server? Set MLFLOW_TRACKING_URI, or give its address"
    absent = tmp_path / "absent"
    absent.mkdir()
    (absent / "mlflow.py").write_text("raise ImportError('no such package')")
    said = penstock(*push, "mlflow+http://127.0.0.1:9", code=3, PYTHONPATH=str(absent))
    assert "pip install 'penstock[mlflow]'" in json.dumps(said)
