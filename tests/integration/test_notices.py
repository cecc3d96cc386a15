"""What webhooks are told outlives the controller that was to tell it: real controllers, killed, stopped and frozen."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from loadtest.controller_kills.worker import Worker
from loadtest.postgres import Postgres
from tests.fakes.http_listener import listening
from tests.fakes.onnx_repository import scale
from tests.fakes.running_controller import RunningController, running_controller
from tests.fakes.running_triton import RunningTriton, running_triton

pytestmark = pytest.mark.integration
STEPS = [{"weight_percent": 50, "duration_s": 1, "min_requests": 50}]


@pytest.fixture(scope="module")
def own_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    root = tmp_path_factory.mktemp("told")
    scale(root / "repository")
    with running_triton(root / "repository", root / "triton") as running:
        yield running


def started(controller: RunningController, **urls: str) -> Any:
    """Start a rollout whose webhooks are told of every change."""
    controller.until("/v1/models/scale", lambda model: model.get("stable") == 3 and model["loaded"] == [3])
    hooks = [
        {"name": name, "occasion": "event", "url": url, "timeout_s": 60, "retries": 10} for name, url in urls.items()
    ]
    answer = controller.post("/v1/rollouts", {"model": "scale", "version": 2, "steps": STEPS, "webhooks": hooks})
    assert answer.status_code == 201, answer.text
    return answer.json()


def webhook_calls(controller: RunningController) -> dict[str, str]:
    """Return how many calls a controller made, by their labels."""
    text = httpx2.get(f"{controller.url}/metrics", timeout=5.0, trust_env=False).text
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith("penstock_rollout_webhook_calls_"))
    return {labels: count for labels, _, count in lines if "_total" in labels}


def delivery_in(silent: socket.socket) -> str:
    """Return which delivery came to a service that takes calls and answers none."""
    connection, _ = silent.accept()
    with connection:
        connection.settimeout(5.0)
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65_536)
    headers = dict(line.split(": ", 1) for line in head.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:])
    return {name.lower(): value for name, value in headers.items()}["penstock-delivery"]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_a_notice_that_was_under_way_arrives_after_a_restart_and_delays_no_other_before(
    own_triton: RunningTriton, tmp_path: Path, request: pytest.FixtureRequest, engine: str, end: str
) -> None:
    postgres: Postgres | None = request.getfixturevalue("postgres") if engine == "postgresql" else None
    options = ("--database-url", postgres.create()) if postgres else ()
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1]
    with (
        running_controller(own_triton.repository, own_triton.address, tmp_path / "state", *options) as controller,
        listening() as chat,
    ):
        rollout = started(controller, board=f"http://127.0.0.1:{port}/board", chat=f"{chat.url}/chat")
        for phase in ("preparing", "warming", "progressing"):
            chat.until(lambda calls, phase=phase: any(body["phase"] == phase for _, _, body in calls))  # type: ignore[misc]
        lines = controller.get(f"/v1/rollouts/{rollout['id']}/explanation")["lines"]
        words = "Webhook board is still to be told of 3 changes, the first to 'preparing'; not tried yet."
        assert words in lines, "the other was told while the call to this one was under way"
        if end == "killed":
            controller.kill()
        else:
            assert controller.stop() == 0, "also while a call is under way"
        with silent:
            under_way = delivery_in(silent)
        assert under_way == f"{rollout['id']}/board/g1"
        with listening(port) as board:
            controller.start_again()
            board.until(lambda calls: len(calls) >= 3)
            with Worker([f"127.0.0.1:{controller.grpc_port}"], per_period=100):
                for each in (board, chat):
                    each.until(lambda calls: any(body["phase"] == "promoted" for _, _, body in calls))
        history = [line["target"] for line in controller.get(f"/v1/rollouts/{rollout['id']}/history")["history"]]
        assert history == ["preparing", "warming", "progressing", "promoting", "promoted"]
        for name, listener in (("board", board), ("chat", chat)):
            deliveries = {headers["penstock-delivery"]: body["phase"] for _, headers, body in listener.calls}
            assert list(deliveries.values()) == history, "in order, each known by its delivery"
            assert all(each.startswith(f"{rollout['id']}/{name}/g") for each in deliveries)
        assert board.calls[0][1]["penstock-delivery"] == under_way
        lines = controller.get(f"/v1/rollouts/{rollout['id']}/explanation")["lines"]
        assert not [line for line in lines if line.startswith("Webhook")]
        assert controller.stop() == 0


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_the_controller_that_takes_the_lead_over_tells_what_the_one_before_could_not(
    own_triton: RunningTriton, postgres: Postgres, tmp_path: Path, end: signal.Signals
) -> None:
    options = ("--database-url", postgres.create())
    where = (own_triton.repository, own_triton.address)
    with (
        listening() as board,
        running_controller(*where, tmp_path / "one", *options) as first,
    ):
        first.until("/v1/leader", lambda leader: leader["leading"])
        with running_controller(*where, tmp_path / "two", *options) as second:
            board.status = 503
            rollout = started(first, board=f"{board.url}/board")
            board.until(lambda calls: len(calls) >= 1)
            first.until(f"/v1/rollouts/{rollout['id']}", lambda r: r["phase"] == "progressing")
            first.process.send_signal(end)
            try:
                second.until("/v1/leader", lambda leader: leader["leading"])
                refused = len(board.calls)
                board.status = 200
                board.until(lambda calls: len(calls) >= refused + 3)
            finally:
                first.process.send_signal(signal.SIGCONT)
            tried = [headers["penstock-delivery"] for _, headers, _ in board.calls]
            told = [(headers["penstock-delivery"], body["phase"]) for _, headers, body in board.calls[refused:]]
            assert set(tried[:refused]) == {f"{rollout['id']}/board/g1"}
            assert told[0] == (f"{rollout['id']}/board/g1", "preparing")
            assert [phase for _, phase in told] == ["preparing", "warming", "progressing"]
            if end is signal.SIGSTOP:
                first.until("/v1/leader", lambda leader: leader["leader"] and not leader["leading"])
                calls = webhook_calls(first)
                assert second.post(f"/v1/rollouts/{rollout['id']}/abort", {"actor": "ada"}).status_code == 200
                board.until(lambda calls: calls[-1][2]["phase"] == "aborted")
                assert webhook_calls(first) == calls, "one that was deposed tells nothing"
            assert len(board.calls) == len({headers["penstock-delivery"] for _, headers, _ in board.calls}) + refused
