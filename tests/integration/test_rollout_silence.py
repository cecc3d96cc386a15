"""Real controllers whose workers fall silent: nothing is promoted, and the candidate's weight is taken back."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from loadtest.controller_kills.controllers import Controllers, publish
from loadtest.controller_kills.model_server import ModelServer
from loadtest.controller_kills.worker import Worker
from tests.fakes.opened_store import sqlite_url

pytestmark = pytest.mark.integration
STEPS = [{"weight_percent": weight, "duration_s": 2.0, "min_requests": 50} for weight in (10, 50)]


class Stage:
    """One controller, one worker and one model."""

    def __init__(self, held: ExitStack, folder: Path) -> None:
        publish(folder / "repository", ["digits"])
        server = held.enter_context(ModelServer())
        self.controllers = Controllers(1, sqlite_url(folder), folder / "repository", server.address, folder)
        held.callback(self.controllers.close)
        self.controllers.start()
        self.worker_life = held.enter_context(ExitStack())
        grpc = [part.grpc for part in self.controllers.parts]
        self.worker = self.worker_life.enter_context(Worker(grpc, server.loaded))
        self.controllers.until(lambda: self.model()["stable"], "a stable version")

    def model(self) -> Any:
        return self.controllers.get("/v1/models/digits") or {"stable": None}

    def rollout(self) -> Any:
        return self.controllers.get("/v1/rollouts/digits-1")

    def cut_metrics(self) -> None:
        self.worker.muted = True

    def end_gateways(self) -> None:
        self.worker_life.close()

    def end_traffic(self) -> None:
        self.worker.per_period = 0


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as held:
        yield Stage(held, tmp_path)


@pytest.mark.parametrize("silence", [Stage.cut_metrics, Stage.end_gateways, Stage.end_traffic])
def test_silence_never_promotes(stage: Stage, silence: Callable[[Stage], None]) -> None:
    version = 3 - stage.model()["stable"]
    body = {"model": "digits", "version": version, "steps": STEPS, "max_step_duration_s": 4.0}
    answer = stage.controllers.post("/v1/rollouts", body, stage.controllers.parts[0])
    assert answer is not None
    assert answer.status_code == 201, answer.text
    stage.controllers.until(lambda: stage.rollout()["weight_percent"] == 10, "the first step")
    silence(stage)
    highest, deadline = 0, time.monotonic() + 60.0
    while (now := stage.rollout())["active"]:
        highest = max(highest, now["weight_percent"])
        assert now["phase"] not in {"promoting", "promoted"}
        assert time.monotonic() < deadline, now
        time.sleep(0.1)
    assert (now["phase"], highest) == ("rolled_back", 10)
    assert stage.model()["weight_percent"] == 0
