"""Runs rollouts of known candidates in front of a real Triton, under load, and looks at how they end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from loadtest.bench.part import owned
from loadtest.bench.system import System, get
from loadtest.connection import HttpConnection
from loadtest.record import Failure
from loadtest.selftest.faulty_model import MODEL, publish, write_data
from loadtest.selftest.scenarios import PROMOTED, Scenario
from services.core.errors import PenstockError, UpstreamFailure

RATE_PER_S = 150
_ROLLOUT_TIMEOUT_S = 400.0
_SEEN_TIMEOUT_S = 30.0
_POLL_S = 0.25
_TIMEOUT_S = 10.0
_CREATED = 201
_STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How one rollout ended.

    Attributes:
        scenario: The candidate in words.
        expected: The phase that it had to end in.
        phase: The phase that it ended in.
        checks: The checks that decided against it.
        reason: Why, in the controller's words.
        exposed: Requests of clients that the candidate had answered by then.
        seconds: From its first weight to the decision.
        right: Whether it ended as it had to, for the reason that it had to.
    """

    scenario: str
    expected: str
    phase: str
    checks: tuple[str, ...]
    reason: str
    exposed: int
    seconds: float
    right: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def run(scenarios: Sequence[Scenario], folder: Path, say: Callable[[str], None]) -> list[Ended]:
    """Run the rollouts of these candidates, one after the other.

    Args:
        scenarios: The candidates.
        folder: For the repository, state and logs.
        say: Tells a person what is under way.

    Raises:
        PenstockError: The system does not start, or a rollout does not end.
    """
    repository = folder / "repository"
    publish(repository, 1)
    write_data(folder / "data.npz")
    say("starting Triton, controller and gateway")
    with System(repository, folder, workers=1) as system, traffic(system, folder / "data.npz", folder):
        ended = []
        for version, scenario in enumerate(scenarios, 2):
            publish(repository, version, scenario.fault)
            ended.append(_rolled(system, scenario, version, say))
        return ended


def _rolled(system: System, scenario: Scenario, version: int, say: Callable[[str], None]) -> Ended:
    """Run the rollout of a published candidate to the end."""
    say(f"version {version}: {scenario.name}")
    wait_until(lambda: version in model_view(system)["published"], f"version {version} is not seen", _SEEN_TIMEOUT_S)
    started = post(system.controller.rest, "/v1/rollouts", {"model": MODEL, **scenario.body(version)})
    path = f"/v1/rollouts/{started['id']}"

    def over() -> bool:
        return not orjson.loads(get(system.controller.rest, path))["active"]

    wait_until(over, f"rollout {started['id']} is not over", _ROLLOUT_TIMEOUT_S)
    ended = _ended(scenario, orjson.loads(get(system.controller.rest, path)), history_of(system, path))
    say(f"  {ended.phase} after {ended.seconds:.0f} s and {ended.exposed} requests: {ended.reason[:160]}")
    return ended


def _ended(scenario: Scenario, rollout: dict[str, Any], history: list[dict[str, Any]]) -> Ended:
    decisions = [line for line in history if line["judged"] is not None]
    failed = decisions[-1]["verdict"]["checks"] if decisions and scenario.expected != PROMOTED else []
    checks = tuple(check["name"] for check in failed if check["outcome"] == "fail")
    begun = next((line["at"] for line in history if line["target_weight_percent"] > 0), rollout["created_at"])
    decided = decisions[-1]["at"] if decisions else history[-1]["at"]
    right = rollout["phase"] == scenario.expected and (not scenario.check or scenario.check in checks)
    return Ended(
        scenario=scenario.name,
        expected=scenario.expected,
        phase=rollout["phase"],
        checks=checks,
        reason=rollout["reason"],
        exposed=sum(line["judged"]["candidate"]["requests"] for line in decisions),
        seconds=round(decided - begun, 1),
        right=right,
    )


def history_of(system: System, path: str) -> list[dict[str, Any]]:
    """Return the history of the rollout at a path."""
    found: list[dict[str, Any]] = orjson.loads(get(system.controller.rest, f"{path}/history"))["history"]
    return found


def model_view(system: System) -> dict[str, Any]:
    """Return what the controller says of the model."""
    found: dict[str, Any] = orjson.loads(get(system.controller.rest, f"/v1/models/{MODEL}"))
    return found


def post(address: str, path: str, document: dict[str, Any]) -> dict[str, Any]:
    """Create something at an address, and return it.

    Raises:
        UpstreamFailure: There is no answer, or its status is not 201.
    """
    with closing(HttpConnection(address, _TIMEOUT_S)) as http:
        outcome = http.exchange("POST", path, "Content-Type: application/json\r\n", orjson.dumps(document))
    if isinstance(outcome, Failure) or outcome[0] != _CREATED:
        found = outcome.message if isinstance(outcome, Failure) else f"{outcome[0]}: {bytes(outcome[1].body)!r}"
        raise UpstreamFailure(f"{address}{path}: {found}")
    answer: dict[str, Any] = orjson.loads(bytes(outcome[1].body))
    return answer


def wait_until(holds: Callable[[], bool], otherwise: str, timeout_s: float) -> None:
    """Wait until something holds.

    Raises:
        PenstockError: It did not in time.
    """
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise PenstockError(f"{otherwise} after {timeout_s:g} s")
        time.sleep(_POLL_S)


@contextmanager
def traffic(system: System, data: Path, folder: Path, rate_per_s: float = RATE_PER_S) -> Iterator[None]:
    """Send requests over REST and gRPC until the end; then ``traffic.log`` in the folder has what became of them."""
    words = ["-m", "loadtest.traffic", "--rest", system.gateway.rest, "--grpc", system.gateway.grpc]
    words += ["--model", MODEL, "--rate", f"{rate_per_s:g}", "--data", str(data), "--json"]
    with (folder / "traffic.log").open("wb") as log:
        sender = subprocess.Popen(owned([sys.executable, *words]), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield
            if (status := sender.poll()) is not None:
                raise PenstockError(f"the load ended with {status}: {(folder / 'traffic.log').read_text()[-2000:]}")
        finally:
            sender.send_signal(signal.SIGTERM)
            try:
                sender.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                sender.kill()
                sender.wait()
