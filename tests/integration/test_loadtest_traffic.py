"""Background traffic runs until it is told to stop and then says what it saw; the commands around it behave."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fakes.inference_server import MODEL, Behaviour, FakeInferenceServer, Script, always
from tests.fakes.load_process import ROOT, TIMEOUT_S, await_traffic, echo_data, slo_file, start_module

pytestmark = [pytest.mark.integration, pytest.mark.measured]


def a_quarter(number: int, _elapsed_s: float) -> Behaviour:
    """Let version 2, as a candidate, answer every fourth request."""
    return Behaviour(version="2", role="candidate") if number % 4 == 0 else Behaviour(role="stable")


def arguments(server: FakeInferenceServer, folder: Path) -> list[object]:
    return ["--rest", server.rest, "--grpc", server.grpc, "--model", MODEL, "--data", echo_data(folder), "--json"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_traffic_ends_on_a_signal_with_totals_that_add_up(tmp_path: Path, number: signal.Signals) -> None:
    with FakeInferenceServer(a_quarter) as server:
        process = start_module("loadtest.traffic", *arguments(server, tmp_path))
        await_traffic(server)
        time.sleep(1.5)
        process.send_signal(number)
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, err
        totals = json.loads(out)
        assert totals["requests"] == server.requests == totals["answered"]
    assert totals["failed"] == totals["wrong"] == 0
    assert totals["versions"]["2"] == pytest.approx(totals["requests"] / 4, abs=1)
    assert totals["roles"]["candidate"] == totals["versions"]["2"]
    for version, count in totals["versions"].items():
        assert sum(row["answers"].get(version, 0) for row in totals["timeline"]) == count


def test_traffic_goes_on_through_an_outage_and_counts_it(tmp_path: Path) -> None:
    outage: Script = lambda _, elapsed_s: Behaviour(status=503 if 0.5 <= elapsed_s < 1.0 else 200)  # noqa: E731
    with FakeInferenceServer(outage) as server:
        process = start_module("loadtest.traffic", *arguments(server, tmp_path))
        await_traffic(server)
        time.sleep(2.0)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    totals = json.loads(out)
    assert set(totals["failures"]) == {"HTTP 503", "gRPC UNAVAILABLE"}
    assert totals["timeline"][-1]["answers"]["1"] > 0


def test_requests_in_flight_at_the_end_are_awaited(tmp_path: Path) -> None:
    with FakeInferenceServer(always(delay_s=0.5)) as server:
        process = start_module("loadtest.traffic", *arguments(server, tmp_path), "--rate", 20)
        await_traffic(server)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, err
        assert json.loads(out)["answered"] == server.requests


def test_traffic_without_a_target_says_so_and_sends_nothing(tmp_path: Path) -> None:
    for extra, code, words in (
        (["--rest", "127.0.0.1:1", "--data", echo_data(tmp_path)], 1, "connection refused"),
        (["--data", echo_data(tmp_path)], 2, "--rest HOST:PORT"),
        (["--rest", "127.0.0.1:1", "--rate", "0"], 2, "load.rate_per_s"),
    ):
        process = start_module("loadtest.traffic", *extra)
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == code
        assert (out, words in err, "Traceback" in err) == ("", True, False)


def cli(*words: object) -> subprocess.Popen[str]:
    return start_module("services.cli.main", "loadtest", *words)


def test_the_command_passes_on_options_output_and_exit_code(tmp_path: Path) -> None:
    with FakeInferenceServer() as server:
        slo = slo_file(tmp_path, {"p50_ms": 5000}, target={"rest": "127.0.0.1:1", "grpc": "127.0.0.1:1"})
        process = cli(slo, "--rest", server.rest, "--protocol", "rest", "--rate", 60, "--duration", 1, "--json")
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, err
        report = json.loads(out)
        assert (report["load"]["rate_per_s"], report["target"]["protocol"]) == (60, "rest")
        process = cli(slo, "--rest", server.rest, "--protocol", "rest")
        out, _ = process.communicate(timeout=TIMEOUT_S)
        assert "MET" in out
        assert "p50_ms" in out


def test_the_command_names_the_line_of_a_wrong_key(tmp_path: Path) -> None:
    path = tmp_path / "slo.yaml"
    path.write_text("target:\n  model: m\n  protocl: rest\nobjectives: {p99_ms: 10}\n")
    process = cli(path)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert "slo.yaml:3" in err
    assert "protocol" in err


def test_interrupting_the_command_ends_its_child(tmp_path: Path) -> None:
    with FakeInferenceServer() as server:
        process = cli(slo_file(tmp_path, {"p50_ms": 5000}, server, duration_s=3600))
        await_traffic(server)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT_S)  # ends only when the child closed its output
    assert process.returncode == 2, err
    assert "interrupted by SIGINT" in out


def test_plain_locust_runs_the_same_users(tmp_path: Path) -> None:
    with FakeInferenceServer() as server:
        slo = slo_file(tmp_path, {"p50_ms": 5000}, server)
        command = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--slo", str(slo), "--headless"]
        command += ["--users", "4", "--spawn-rate", "4", "--run-time", "2s", "--rate", "50"]
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=TIMEOUT_S, check=False)
        assert done.returncode == 0, done.stderr
        assert server.requests > 20
    for protocol in ("rest", "grpc"):
        assert f"{protocol}     infer" in done.stdout + done.stderr


def test_plain_locust_says_why_it_cannot_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--slo", str(tmp_path / "none.yaml")]
    command += ["--headless", "--users", "1", "--run-time", "1s"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 1
    assert "none.yaml" in done.stderr
    assert "Traceback" not in done.stderr
