"""A real controller removes what it is told to, and says so; a setting that makes no sense ends it with words."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.core.rollouts.audit import PRUNE
from tests.fakes.audit_records import record_of
from tests.fakes.opened_store import OpenedStore
from tests.fakes.running_controller import running_controller

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
VARIABLE = "PENSTOCK_CONTROLLER_AUDIT_DAYS"


async def fill(url: str) -> None:
    """Leave 1,600 records in a database, one for every 45 minutes, the latest 45 minutes old."""
    store = OpenedStore(url)
    for number in range(1600, 0, -1):
        await store.note(record_of(at=time.time() - number * 2700, reason=f"{number}"))
    await store.close()


def test_a_controller_keeps_so_many_days_and_the_removal_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, repository = tmp_path / "state", tmp_path / "repository"
    state.mkdir()
    repository.mkdir()
    url = f"sqlite:///{state / 'penstock.db'}"
    asyncio.run(fill(url))
    monkeypatch.setenv(VARIABLE, "30")
    with running_controller(repository, "127.0.0.1:1", state) as controller:
        controller.until("/v1/audit", lambda page: len([r for r in page["audit"] if r["action"] == PRUNE]) == 2)
        left = controller.get("/v1/audit?limit=1000")["audit"]
    removals = [record["reason"] for record in left if record["action"] == PRUNE]
    assert all("controller.audit_days is 30" in words for words in removals)
    last, first = [int(words.split(" ")[0]) for words in removals]
    assert first == 500, "so many at a time"
    kept = [int(record["reason"]) for record in left if record["action"] == "start"]
    assert kept == list(range(1, 1600 - first - last + 1)), "the oldest went, and no other"
    assert len(kept) in {959, 960}


def test_a_number_of_days_that_makes_no_sense_is_refused_with_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    command = [sys.executable, "-m", "services.cli.main", "controller", "--state-dir", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert f"{VARIABLE} (controller.audit_days)" in ended.stderr
    assert "greater than or equal to 1" in ended.stderr
