"""``penstock triton`` as a person meets it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

FREE_PORTS = ("--http-port=0", "--grpc-port=0", "--metrics-port=0", "--memory-port=0")


def command(directory: Path, *arguments: str) -> list[str]:
    (directory / "repository").mkdir(exist_ok=True)
    own = ("--repository", str(directory / "repository"), "--state-dir", str(directory / "state"))
    return [sys.executable, "-m", "services.cli.main", "triton", *own, *arguments]


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    return subprocess.run(
        command(directory, *arguments), capture_output=True, text=True, timeout=60, check=False, cwd=root
    )


def test_a_port_in_use_is_one_clear_message_and_exit_code_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, *FREE_PORTS[1:], f"--http-port={port}")
    assert done.returncode == 2
    assert f"port {port}" in done.stderr
    assert f"process {os.getpid()}" in done.stderr
    assert "triton.http_port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_repository_that_is_not_there_is_exit_code_2(tmp_path: Path) -> None:
    done = run(tmp_path, *FREE_PORTS, "--repository", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_triton_that_lacks_something_is_exit_code_3_with_the_remedy(tmp_path: Path) -> None:
    bare = tmp_path / "bare" / "bin" / "tritonserver"
    bare.parent.mkdir(parents=True)
    bare.write_text("#!/bin/sh\n")
    bare.chmod(0o755)
    done = run(tmp_path, *FREE_PORTS, "--executable", str(bare))
    assert done.returncode == 3
    assert "remedy:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_ends_cleanly_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        command(tmp_path, "--json", *FREE_PORTS),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        try:
            text = "".join(iter(process.stdout.readline, "}\n")) + "}"
            said = json.loads(text)
            for name in ("http_port", "grpc_port", "metrics_port", "memory_port"):
                socket.create_connection(("127.0.0.1", said[name]), timeout=5).close()
            process.send_signal(number)
            assert process.wait(40) == 0
        finally:
            process.kill()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", said["http_port"]), timeout=5)
