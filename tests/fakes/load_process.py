"""The load generator as the process that it is, pointed at a fake server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.fakes.inference_server import CLASSES, MODEL, FakeInferenceServer

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0
# The tests share a crowded machine; what the generator's own lateness does is a test of its own.
LENIENT = {"max_lateness_ms": 5000, "max_busy_share": 1.0}


def echo_data(folder: Path) -> Path:
    """Write 50 random inputs whose label is their largest element."""
    inputs = np.random.default_rng(0).normal(size=(50, CLASSES)).astype(np.float32)
    path = folder / "echo.npz"
    np.savez(path, inputs=inputs, labels=inputs.argmax(axis=1))
    return path


def slo_file(
    folder: Path, objectives: dict[str, float], server: FakeInferenceServer | None = None, **load: Any
) -> Path:
    """Write an SLO file for a fake server; keys of ``target`` and ``generator`` may be given as such."""
    target = {"model": MODEL, "rest": server.rest, "grpc": server.grpc} if server else {"model": MODEL}
    document = {
        "target": target | load.pop("target", {}),
        "generator": LENIENT | load.pop("generator", {}),
        "load": {"rate_per_s": 100, "duration_s": 1.5, "warm_up_s": 0.2, "connections": 8, "timeout_s": 2} | load,
        "objectives": objectives,
        "data": str(echo_data(folder)),
    }
    path = folder / "slo.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def start_module(module: str, *arguments: object) -> subprocess.Popen[str]:
    """Start ``python -m module`` with its output captured."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def await_traffic(server: FakeInferenceServer) -> None:
    """Wait until requests arrive."""
    deadline = time.monotonic() + TIMEOUT_S
    while not server.requests:
        assert time.monotonic() < deadline, "no request arrived"
        time.sleep(0.02)


def gate(slo: Path, *arguments: object) -> tuple[int, dict[str, Any]]:
    """Run the gate to its end; return its exit code and its JSON."""
    process = start_module("loadtest.run", slo, "--json", *arguments)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert out, err
    return process.returncode, json.loads(out)
