"""The comparison runs real servers one at a time, reports all of them, and leaves nothing behind."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.peers.environments import CACHE
from tests.fakes.load_process import ROOT

pytestmark = [
    pytest.mark.integration,
    pytest.mark.measured,
    pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is missing: apt-get install nghttp2-client"),
]

# Installing belongs to the command, not to a test: Envoy takes part where an earlier run has installed it.
ENVOY = (ROOT / CACHE / "envoy" / ".installed").is_file()


def run_peers(temporary: Path, *options: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.peers", *options],
        cwd=ROOT,
        env={"PATH": str(Path(shutil.which("h2load") or "").parent), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_penstock_triton_and_envoy_are_compared_with_both_bodies(tmp_path: Path) -> None:
    peers = ["triton", "penstock", *(["envoy"] if ENVOY else [])]
    chosen = [word for peer in peers for word in ("--peer", peer)]
    status, out, err = run_peers(tmp_path, "--quick", "--concurrency", "2", *chosen, "--out", str(tmp_path / "out"))
    assert status == 0, err
    document = json.loads((tmp_path / "out" / "peers.json").read_text())
    assert document["void"] == {}
    assert {(line["peer"], line["body"]) for line in document["lines"]} == {
        (name, body)
        for name in ("Triton direct", "Penstock", *(["Envoy"] if ENVOY else []))
        for body in ("JSON", "binary")
    }
    assert all(sample["requests_per_s"] > 0 and sample["cpu_us"] > 0 for sample in document["samples"])
    assert (tmp_path / "out" / "peers.md").read_text() == out
    assert (tmp_path / "out" / "peers.svg").read_text().lstrip().startswith("<?xml")
    assert list(tmp_path.glob("peers-*")) == []
