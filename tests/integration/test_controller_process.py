"""``penstock controller`` as a process, with a real Triton and a worker that speaks the real control protocol."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from loadtest.controller_kills.worker import Worker
from services.pb.penstock.v1 import rollouts_pb2, rollouts_pb2_grpc
from tests.fakes.http_listener import listening
from tests.fakes.onnx_repository import scale
from tests.fakes.running_controller import RunningController, running_controller
from tests.fakes.running_triton import RunningTriton, running_triton

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def own_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    """A Triton whose models only these tests load; ``scale`` is published in 1, 2, 3 and, damaged, 9."""
    root = tmp_path_factory.mktemp("controlled")
    scale(root / "repository")
    with running_triton(root / "repository", root / "triton") as running:
        yield running


@pytest.fixture
def controller(own_triton: RunningTriton, tmp_path: Path) -> Iterator[RunningController]:
    with running_controller(own_triton.repository, own_triton.address, tmp_path / "state") as running:
        yield running


def penstock(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli.main", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def rollout_verb(controller: RunningController, *arguments: str) -> Any:
    done = penstock("rollout", *arguments, "--controller", controller.url, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def stable_is(version: int) -> Any:
    return lambda model: model.get("stable") == version and model["loaded"] == [version]


def test_a_rollout_goes_on_through_a_kill_of_the_controller_and_is_told_step_by_step(
    controller: RunningController,
) -> None:
    # Version 9 is damaged, so 3 is the latest that loads.
    controller.until("/v1/models/scale", stable_is(3))
    with Worker([f"127.0.0.1:{controller.grpc_port}"], per_period=100) as worker:
        started = rollout_verb(
            controller, "start", "scale", "--version", "2", "--step", "10:3s:50", "--step", "50:2s:50", "--actor", "ada"
        )
        path = f"/v1/rollouts/{started['id']}"
        before = controller.until(path, lambda r: r["evidence"]["candidate"]["requests"] > 20)
        controller.kill()
        controller.start_again()
        after = controller.until(path, lambda r: r["evidence"]["candidate"]["requests"] > 0)
        assert after["step"] >= before["step"]
        over = controller.until(path, lambda r: not r["active"])
        assert over["phase"] == "promoted", over["reason"]
        controller.until("/v1/models/scale", stable_is(2))
        assert {seen.split.weight_percent for seen in worker.sightings} == {10, 50}
    lines = rollout_verb(controller, "history", started["id"])
    begun = ["preparing", "warming", "progressing"]
    assert [line["target"] for line in lines] == [*begun, "progressing", "promoting", "promoted"]
    assert lines[0]["actor"] == "ada"
    for line in lines[3:5]:
        assert line["verdict"]["outcome"] == "pass"
        assert line["judged"]["candidate"]["requests"] >= 50
    assert rollout_verb(controller, "list", "--model", "scale")[0]["id"] == started["id"]
    told = penstock("rollout", "history", started["id"], "--controller", controller.url)
    assert "passed" in told.stdout
    assert controller.stop() == 0


def test_a_webhook_that_has_not_confirmed_is_asked_again_after_a_kill_of_the_controller(
    controller: RunningController,
) -> None:
    controller.until("/v1/models/scale", stable_is(3))
    with listening() as listener, Worker([f"127.0.0.1:{controller.grpc_port}"], per_period=100):
        listener.status = 403
        hooks = [
            {"name": "board", "occasion": "confirm-promotion", "url": f"{listener.url}/board"},
            {"name": "chat", "occasion": "event", "url": f"{listener.url}/chat"},
        ]
        document = {
            "model": "scale",
            "version": 2,
            "steps": [{"weight_percent": 50, "duration_s": 1, "min_requests": 50}],
            "webhooks": hooks,
        }
        started = controller.post("/v1/rollouts", document).json()
        path = f"/v1/rollouts/{started['id']}"
        listener.until(lambda calls: any(path == "/board" for path, _, _ in calls))
        controller.kill()
        asked = len(listener.calls)
        controller.start_again()
        listener.until(lambda calls: any(path == "/board" for path, _, _ in calls[asked:]))
        assert controller.get(path)["phase"] == "progressing"
        assert controller.get(f"{path}/explanation")["lines"][0].startswith("Waits for webhook board: ")
        listener.status = 200
        assert controller.until(path, lambda r: not r["active"])["phase"] == "promoted"
        listener.until(lambda calls: calls[-1][2]["phase"] == "promoted")
    questions = [(headers, body) for path, headers, body in listener.calls if path == "/board"]
    assert len({headers["penstock-delivery"] for headers, _ in questions}) == 1, "one question, however often asked"
    assert {body["type"] for _, body in questions} == {"confirm-promotion"}
    told = [body["phase"] for path, _, body in listener.calls if path == "/chat"]
    assert told[0] == "preparing"
    assert told[-2:] == ["promoting", "promoted"]


def test_a_candidate_that_triton_refuses_fails_with_its_reason_and_stable_serves_on(
    controller: RunningController,
) -> None:
    controller.until("/v1/models/scale", stable_is(3))
    started = rollout_verb(controller, "start", "scale", "--version", "9")
    watched = penstock("rollout", "get", started["id"], "--watch", "--controller", controller.url)
    assert watched.returncode == 1
    assert "cannot be loaded" in watched.stdout
    controller.until("/v1/models/scale", stable_is(3))


def test_a_triton_that_was_killed_gets_its_models_back(
    controller: RunningController, own_triton: RunningTriton
) -> None:
    controller.until("/v1/models/scale", stable_is(3))
    os.kill(own_triton.first_pid, signal.SIGKILL)
    controller.until("/readyz", lambda ready: ready["triton"] != "ok")
    controller.until("/v1/models/scale", stable_is(3))
    controller.until("/readyz", lambda ready: ready["triton"] == "ok" and ready["ready"])


def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for flag, other in (("--http-port", "--grpc-port"), ("--grpc-port", "--http-port")):
            done = penstock("controller", flag, str(port), other, "0", "--state-dir", str(tmp_path))
            assert done.returncode == 2
            assert str(port) in done.stderr
            assert "Traceback" not in done.stderr


def test_a_second_controller_of_an_sqlite_database_is_refused(controller: RunningController, tmp_path: Path) -> None:
    controller.until("/readyz", lambda ready: ready["ready"])
    ports = ("--http-port", "0", "--grpc-port", "0")
    done = penstock("controller", *ports, "--state-dir", str(tmp_path / "state"))
    assert done.returncode == 2
    assert f"is already running (process {controller.process.pid})" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_controller_every_verb_says_how_to_get_one() -> None:
    done = penstock("rollout", "list", "--controller", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "penstock up" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_rollout_is_started_watched_and_aborted_over_grpc(controller: RunningController) -> None:
    controller.until("/v1/models/scale", stable_is(3))
    with grpc.insecure_channel(f"127.0.0.1:{controller.grpc_port}") as channel:
        stub = rollouts_pb2_grpc.RolloutServiceStub(channel)
        spec = rollouts_pb2.RolloutSpec(model="scale", version=2)
        request = rollouts_pb2.StartRolloutRequest(spec=spec, actor="ada", request_id="begin")
        started = stub.StartRollout(request, timeout=20)
        assert stub.StartRollout(request, timeout=20).id == started.id
        with pytest.raises(grpc.RpcError) as refusal:
            stub.StartRollout(rollouts_pb2.StartRolloutRequest(spec=spec), timeout=20)
        assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        phases = []
        for state in stub.WatchRollout(rollouts_pb2.GetRolloutRequest(id=started.id), timeout=60):
            phases.append(state.rollout.phase)
            if state.rollout.phase == "progressing" and phases.count("progressing") == 1:
                stub.Abort(rollouts_pb2.VerbRequest(id=started.id, actor="bob", reason="enough"), timeout=20)
        assert phases[-1] == "aborted"
        audit = stub.ListAudit(rollouts_pb2.ListAuditRequest(rollout=started.id, actor="bob"), timeout=20).audit
        assert [(record.action, record.outcome, record.source.phase) for record in audit] == [
            ("abort", "done", "progressing")
        ]
        document = controller.get(f"/v1/rollouts/{started.id}")
        assert stub.GetRollout(rollouts_pb2.GetRolloutRequest(id=started.id), timeout=20).reason == document["reason"]
    assert controller.stop() == 0


def test_a_watch_over_grpc_ends_with_the_controller_and_holds_up_nothing(controller: RunningController) -> None:
    controller.until("/v1/models/scale", stable_is(3))
    with grpc.insecure_channel(f"127.0.0.1:{controller.grpc_port}") as channel:
        stub = rollouts_pb2_grpc.RolloutServiceStub(channel)
        spec = rollouts_pb2.RolloutSpec(model="scale", version=2)
        started = stub.StartRollout(rollouts_pb2.StartRolloutRequest(spec=spec), timeout=20)
        watch = stub.WatchRollout(rollouts_pb2.GetRolloutRequest(id=started.id), timeout=60)
        assert next(watch).rollout.id == started.id
        assert controller.stop() == 0
        with pytest.raises(grpc.RpcError) as end:
            list(watch)
        assert end.value.code() is grpc.StatusCode.UNAVAILABLE
