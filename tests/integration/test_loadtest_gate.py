"""The SLO gate against a server whose latency, errors and mistakes are scripted."""

import signal
import socket
import time
from itertools import takewhile
from pathlib import Path

import pytest

from loadtest.record import NOT_SENT
from loadtest.schedule import Process, offsets
from tests.fakes.inference_server import Behaviour, FakeInferenceServer, Script, always, stall
from tests.fakes.load_process import TIMEOUT_S, await_traffic, gate, slo_file, start_module

pytestmark = [pytest.mark.integration, pytest.mark.measured]

PROTOCOLS = pytest.mark.parametrize("protocol", ["rest", "grpc"])


def test_a_target_that_keeps_its_objectives_is_met(tmp_path: Path) -> None:
    promises = {"p50_ms": 1500, "error_rate": 0.05, "correctness": 0.95, "throughput_per_s": 30}
    with FakeInferenceServer(always(role="stable")) as server:
        code, report = gate(slo_file(tmp_path, promises, server))
    assert (code, report["verdict"]) == (0, "met")
    assert server.connections <= 4 + 1, "the REST half of 8 connections is kept, one more asked for readiness"
    assert report["versions"] == {"1": report["requests"]}
    assert report["roles"] == {"stable": report["requests"]}
    assert set(report["answered_latency_ms"]) == {"rest", "grpc"}
    assert {row["verdict"] for row in report["objectives"]} == {"met"}


@PROTOCOLS
def test_the_schedule_is_kept_whatever_the_target_does(tmp_path: Path, protocol: str) -> None:
    with FakeInferenceServer(always(delay_s=0.4)) as server:
        path = slo_file(
            tmp_path, {"p50_ms": 9000}, server, target={"protocol": protocol}, connections=3, arrivals="poisson", seed=5
        )
        _, report = gate(path)
    due = takewhile(lambda offset: offset < 1.7, offsets(Process.POISSON, 100, 5))
    assert report["requests"] == sum(1 for offset in due if offset >= 0.2)
    assert report["waited_for_a_connection"] > report["requests"] / 2


@PROTOCOLS
def test_a_stalled_server_shows_in_the_latency_of_every_request_it_delayed(tmp_path: Path, protocol: str) -> None:
    # A closed loop with 4 connections would see 4 slow requests of some 200; here a third of all were due in the stall.
    with FakeInferenceServer(stall(1.0, 2.0)) as server:
        path = slo_file(
            tmp_path,
            {"p50_ms": 5000, "p95_ms": 400},
            server,
            target={"protocol": protocol},
            rate_per_s=80,
            duration_s=3,
            warm_up_s=0,
            connections=4,
        )
        code, report = gate(path)
    assert (code, report["verdict"]) == (1, "missed")
    assert report["latency_ms"]["p95"] > 600
    assert report["failed"] == 0


@pytest.mark.parametrize(
    ("script", "timeout_s", "kinds"),
    [
        (lambda n, _: Behaviour(status=503 if n % 4 == 0 else 200), 10, {"HTTP 503", "gRPC UNAVAILABLE"}),
        (lambda n, _: Behaviour(status=500 if n % 4 == 0 else 200), 10, {"HTTP 500", "gRPC INTERNAL"}),
        (lambda n, _: Behaviour(delay_s=3600 if n % 20 == 0 else 0), 0.3, {"timeout"}),
    ],
)
def test_errors_are_counted_by_kind_and_miss_the_error_rate(
    tmp_path: Path, script: Script, timeout_s: float, kinds: set[str]
) -> None:
    with FakeInferenceServer(script) as server:
        code, report = gate(slo_file(tmp_path, {"error_rate": 0.02}, server, timeout_s=timeout_s))
    assert (code, report["verdict"]) == (1, "missed")
    assert set(report["failures"]) == kinds
    assert report["failed"] == sum(report["failures"].values())
    assert report["answered"] + report["failed"] == report["requests"]


def test_a_broken_connection_is_one_failure_and_the_next_request_opens_another(tmp_path: Path) -> None:
    script: Script = lambda n, _: Behaviour(hang_up=n % 10 == 9)  # noqa: E731 - a script is a value
    with FakeInferenceServer(script) as server:
        _, report = gate(slo_file(tmp_path, {"p50_ms": 5000}, server, target={"protocol": "rest"}))
        assert server.connections > 8
    assert report["answered"] > report["requests"] / 2
    assert set(report["failures"]) <= {"connection reset"}


def test_wrong_answers_are_counted_and_miss_the_correctness(tmp_path: Path) -> None:
    with FakeInferenceServer(lambda n, _: Behaviour(wrong=n % 5 == 0)) as server:
        code, report = gate(slo_file(tmp_path, {"correctness": 0.95, "error_rate": 0.05}, server))
    assert (code, report["verdict"]) == (1, "missed")
    assert {row["objective"]: row["verdict"] for row in report["objectives"]} == {
        "correctness": "missed",
        "error_rate": "met",
    }
    assert report["wrong"] == pytest.approx(report["items"] / 5, rel=0.3)


def test_every_item_of_a_batch_is_checked(tmp_path: Path) -> None:
    with FakeInferenceServer(always()) as server:
        _, report = gate(slo_file(tmp_path, {"correctness": 0.9}, server, batch_size=7))
    assert report["items"] == 7 * report["answered"]
    assert report["wrong"] == 0


def test_the_backlog_is_bounded_and_what_it_cannot_hold_has_failed(tmp_path: Path) -> None:
    with FakeInferenceServer(always(delay_s=0.5)) as server:
        path = slo_file(tmp_path, {"error_rate": 0.01}, server, connections=2, max_backlog=5, duration_s=2)
        code, report = gate(path)
        assert server.requests <= 2 * (2.2 / 0.5) + 2 * 5 + 2
    assert code == 1
    assert report["failures"][NOT_SENT] > 50
    assert report["answered"] + report["failed"] == report["requests"]


def test_a_target_that_is_not_there_or_not_ready_is_void(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port, and it refuses
        taken.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
        for protocol in ("rest", "grpc"):
            target = {"rest": nobody, "grpc": nobody, "protocol": protocol}
            code, report = gate(slo_file(tmp_path, {"p99_ms": 10}, target=target))
            assert (code, report["verdict"]) == (2, "void")
            assert nobody in report["reasons"][0]
    with FakeInferenceServer(ready=False) as server:
        code, report = gate(slo_file(tmp_path, {"p99_ms": 10}, server))
        assert (code, report["verdict"]) == (2, "void")
        assert "not ready" in report["reasons"][0]
        assert server.requests == 0


def test_too_few_samples_are_void(tmp_path: Path) -> None:
    with FakeInferenceServer() as server:
        code, report = gate(slo_file(tmp_path, {"p99_ms": 5000}, server, duration_s=0.5))
    assert (code, report["verdict"]) == (2, "void")
    assert "1000 needed" in report["objectives"][0]["reason"]


def test_a_starved_generator_is_void(tmp_path: Path) -> None:
    with FakeInferenceServer() as server:
        path = slo_file(tmp_path, {"p50_ms": 5000}, server, duration_s=2, generator={"max_lateness_ms": 200})
        process = start_module("loadtest.run", path, "--json")
        await_traffic(server)
        # Stopped, it gets no CPU at all, as on a machine that is far too busy.
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.8)
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert "late (p99)" in out


def test_a_generator_at_its_own_limit_is_void(tmp_path: Path) -> None:
    with FakeInferenceServer() as server:
        path = slo_file(
            tmp_path, {"p50_ms": 5000}, server, rate_per_s=50_000, duration_s=1, generator={"max_busy_share": 0.5}
        )
        code, report = gate(path)
    assert (code, report["verdict"]) == (2, "void")
    assert "at its own limit" in " ".join(report["reasons"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_void_and_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with FakeInferenceServer(always(delay_s=0.3)) as server:
        process = start_module("loadtest.run", slo_file(tmp_path, {"p50_ms": 5000}, server, duration_s=3600))
        await_traffic(server)
        process.send_signal(number)
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert f"interrupted by {number.name}" in out
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.yaml"], "none.yaml"),
        (["slo.yaml", "--rate", "-1"], "load.rate_per_s"),
        (["slo.yaml", "--rest", "http://x"], "target.rest"),
        (["slo.yaml", "--data", "none.npz"], "none.npz"),
        (["slo.yaml", "--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage_is_one_clean_message(tmp_path: Path, arguments: list[str], words: str) -> None:
    with FakeInferenceServer() as server:
        slo_file(tmp_path, {"p50_ms": 5000}, server)
        process = start_module("loadtest.run", tmp_path / arguments[0], *arguments[1:])
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert server.requests == 0
    assert process.returncode == 2
    assert out == ""
    assert words in err
    assert "Traceback" not in err
