"""Runs live rollouts one after the other, in a system that stays up, and notes how soon each was decided."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from loadtest.bench.system import System, get
from loadtest.live_rollouts.candidates import PACE, RATE_PER_S, Candidate
from loadtest.selftest.experiment import history_of, model_view, post, traffic, wait_until
from loadtest.selftest.faulty_model import MODEL, publish, write_data
from services.core.errors import PenstockError, UpstreamFailure

WORKERS = 2
LONGEST_STEP_S = 1800.0
_END_TIMEOUT_S = LONGEST_STEP_S + 180.0
_SEEN_TIMEOUT_S = 30.0
_PROGRESSING = "progressing"


@dataclass(frozen=True, slots=True)
class LiveRun:
    """How one rollout ended.

    Attributes:
        candidate: The candidate's kind.
        version: Its version.
        phase: The phase that it ended in.
        failed: The checks that showed harm; empty where none did.
        reason: Why it ended, in the controller's words.
        exposed: Clients' requests that the candidate had answered, by the evidence of the decision.
        copies: Copies of requests whose answers had been compared by then.
        seconds: From the step's beginning to the decision.
        looks_late: Verdicts that had seen an answer that is not finite and did not roll back; None where none was seen.
        reaction_s: From the last look at the gateway's metrics without such an answer to the decision, seconds: more
            than it took by one such look. None as above.
    """

    candidate: str
    version: int
    phase: str
    failed: tuple[str, ...]
    reason: str
    exposed: int
    copies: int
    seconds: float
    looks_late: int | None
    reaction_s: float | None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class OddAnswers:
    """When answers of a version that are not finite appeared, to clients or to copies, as far as polls can tell."""

    def __init__(self) -> None:
        self.unseen_at = time.time()
        self.seen = False
        self._late: set[str] = set()

    @property
    def looks_late(self) -> int:
        """Different verdicts that had seen one and did not end the step."""
        return len(self._late)

    def note_metrics(self, text: str, version: int, at: float) -> None:
        """Take in the gateway's metrics as they were asked for at a time, seconds since the epoch."""
        if self.seen:
            return
        answers = re.findall(r"^penstock_non_finite_answers_total\{(.*)\} ([0-9.e+]+)$", text, re.MULTILINE)
        copies = re.findall(r"^penstock_mirror_non_finite_pairs_total\{(.*)\} ([0-9.e+]+)$", text, re.MULTILINE)
        copies = [(labels, value) for labels, value in copies if 'where="both"' not in labels]
        self.seen = any(
            f'{role}="{version}"' in labels and float(value) > 0
            for role, lines in (("version", answers), ("mirrored", copies))
            for labels, value in lines
        )
        if not self.seen:
            self.unseen_at = at

    def note_rollout(self, rollout: dict[str, Any]) -> None:
        """Take in a rollout's state."""
        if rollout["phase"] != _PROGRESSING or rollout["verdict"] is None:
            return
        for check in rollout["verdict"]["checks"]:
            numbers = check["numbers"]
            if check["name"] == "finite" and (numbers["candidate_non_finite"] or numbers.get("pairs_odd")):
                self._late.add(rollout["verdict"]["text"])


def run(candidates: Iterable[Candidate], folder: Path, say: Callable[[str], None]) -> list[LiveRun]:
    """Run the rollouts of these candidates, one after the other.

    Args:
        candidates: The candidates.
        folder: For the repository, state and logs.
        say: Tells a person what is under way.

    Raises:
        PenstockError: The system does not start, or a rollout does not end.
    """
    repository = folder / "repository"
    publish(repository, 1, pace=PACE)
    write_data(folder / "data.npz")
    say("starting Triton, controller and gateway")
    runs: list[LiveRun] = []
    with System(repository, folder, WORKERS) as system, traffic(system, folder / "data.npz", folder, RATE_PER_S):
        for version, candidate in enumerate(candidates, 2):
            publish(repository, version, candidate.fault, PACE)
            runs.append(_rolled(system, candidate, version))
            one = runs[-1]
            say(f"{version}: {one.candidate}: {one.phase} after {one.seconds:.0f} s and {one.exposed} requests")
    return runs


def _rolled(system: System, candidate: Candidate, version: int) -> LiveRun:
    wait_until(lambda: version in model_view(system)["published"], f"version {version} is not seen", _SEEN_TIMEOUT_S)
    asked = {"model": MODEL, **candidate.body(version, LONGEST_STEP_S)}
    path = f"/v1/rollouts/{post(system.controller.rest, '/v1/rollouts', asked)['id']}"
    odd = OddAnswers()
    now: dict[str, Any] = {}

    def over() -> bool:
        try:
            now.update(_looked(system, path, odd, version, odd_expected=candidate.fault.not_finite > 0))
        except UpstreamFailure:
            return False  # a busy machine may be late with one look; the time for the whole rollout bounds this
        return not now["active"]

    wait_until(over, f"{candidate.name}: {path} is not over", _END_TIMEOUT_S)
    return ended(candidate, version, now, history_of(system, path), odd)


def _looked(system: System, path: str, odd: OddAnswers, version: int, *, odd_expected: bool) -> dict[str, Any]:
    if odd_expected:
        at = time.time()
        odd.note_metrics(get(system.gateway.metrics, "/metrics").decode(), version, at)
    state: dict[str, Any] = orjson.loads(get(system.controller.rest, path))
    odd.note_rollout(state)
    return state


def ended(
    candidate: Candidate, version: int, rollout: dict[str, Any], history: list[dict[str, Any]], odd: OddAnswers
) -> LiveRun:
    """Return how a rollout ended, by its last state, its history, and what polls showed on the way."""
    decision = next((line for line in reversed(history) if line["judged"] is not None), None)
    if decision is None:
        raise PenstockError(f"{candidate.name}: no verdict before the end, {rollout['phase']}: {rollout['reason']}")
    begun = next(line["at"] for line in history if line["target"] == _PROGRESSING)
    checks = decision["verdict"]["checks"]
    failed = tuple(check["name"] for check in checks if check["outcome"] == "fail")
    agreement = next((check for check in checks if check["name"] == "agreement"), None)
    return LiveRun(
        candidate=candidate.name,
        version=version,
        phase=rollout["phase"],
        failed=failed,
        reason=rollout["reason"],
        exposed=sum(line["judged"]["candidate"]["requests"] for line in history if line["judged"] is not None),
        copies=agreement["numbers"]["pairs"] if agreement else 0,
        seconds=round(decision["at"] - begun, 1),
        looks_late=odd.looks_late if odd.seen else None,
        reaction_s=round(decision["at"] - odd.unseen_at, 2) if odd.seen else None,
    )
