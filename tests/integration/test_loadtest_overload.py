"""The overload program measures a real system, judges it, and leaves nothing behind."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.fakes.load_process import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.measured]


def test_an_overload_is_offered_refused_and_judged(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "loadtest.overload",
        "--seconds",
        "2",
        "--fixed",
        "0",
        "--out",
        str(tmp_path / "out"),
    ]
    program = subprocess.Popen(
        [*command, "--json"], cwd=ROOT, env={"TMPDIR": str(tmp_path)}, text=True, stdout=-1, stderr=-1
    )
    out, err = program.communicate(timeout=200)
    report = json.loads(out)
    assert program.returncode == {"met": 0, "missed": 1, "void": 2}[report["outcome"]], err
    assert report == json.loads((tmp_path / "out" / "overload.json").read_text())
    assert (tmp_path / "out" / "overload.svg").stat().st_size < 100_000

    (run,) = report["runs"]
    before, overload, after = run["phases"]
    assert run["capacity_per_s"] > 20
    assert overload["offered"] > 8 * before["offered"]
    assert overload["refused"] > 0.5 * overload["offered"], "what nobody can carry is refused"
    assert overload["good"] > 0
    assert after["good"] > 0
    for phase in run["phases"]:
        assert phase["offered"] == phase["good"] + phase["refused"] + phase["failed"]
    assert not list(tmp_path.glob("penstock-overload-*"))
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(one.info["cmdline"] or [])]
