"""Rollouts of several models while controllers are killed; every promise is looked at after every kill."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtest.bench.part import Part
from loadtest.controller_kills.controllers import Controllers
from loadtest.controller_kills.invariants import (
    broken_audit,
    broken_history,
    broken_sightings,
    weights_by_candidate,
)
from loadtest.controller_kills.worker import Worker
from services.core.errors import Unavailable
from services.core.rollout import Phase
from services.core.route import Role

# What is asked of a rollout, by strategy; another strategy is another line.
STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "canary": {
        "strategy": "canary",
        "steps": [
            {"weight_percent": 10, "duration_s": 0.5, "min_requests": 50},
            {"weight_percent": 50, "duration_s": 0.5, "min_requests": 50},
        ],
        "max_step_duration_s": 300.0,
    },
    "blue-green": {
        "strategy": "blue-green",
        "steps": [
            {"weight_percent": 0, "duration_s": 0.5, "min_requests": 50, "mirror_percent": 100},
            {"weight_percent": 100, "duration_s": 0.5, "min_requests": 50, "mirror_percent": 50},
        ],
        "max_step_duration_s": 300.0,
    },
    "shadow": {
        "strategy": "shadow",
        "steps": [{"weight_percent": 0, "duration_s": 0.5, "min_requests": 50, "mirror_percent": 100}],
        "max_step_duration_s": 300.0,
    },
}
# How a rollout is to end: by good evidence, by bad evidence, because a person says so.
ENDS = {"good": "promoted", "bad": "rolled_back", "aborted": "aborted"}
BOUND_S = 30.0
_LEAVING = frozenset(phase.value for phase in Phase if phase.leaving)
_POLL_S = 0.02
_FREEZE_S = 1.0
_AFTER_TRANSITION = 0.75
_RANDOM_S = (0.2, 4.0)
# A controller that has just begun to lead waits 10 s for workers that it may not know: the last transition needs that.
_LEAVING_S = (0.2, 24.0)


@dataclass
class Finding:
    """What was seen.

    Attributes:
        kills: By the phase that a rollout was in, and whether right after its transition.
        freezes: Leaders that were stopped for longer than their lease, and woken.
        rollouts: Rollouts that are over, by how they ended.
        longest_s: Longest time from a controller's return to the end of a rollout, without another kill between.
        away_s: Longest time from a kill until some controller led again.
        frozen_away_s: Longest time from a leader's stop until another led.
        broken: Every broken promise.
    """

    kills: dict[str, int] = field(default_factory=dict)
    freezes: int = 0
    rollouts: dict[str, int] = field(default_factory=dict)
    longest_s: float = 0.0
    away_s: float = 0.0
    frozen_away_s: float = 0.0
    broken: list[str] = field(default_factory=list)

    @property
    def killed(self) -> int:
        """How many controllers were killed."""
        return sum(self.kills.values())

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            "killed": self.killed,
            "kills": self.kills,
            "freezes": self.freezes,
            "rollouts": self.rollouts,
            "longest_s": round(self.longest_s, 2),
            "away_s": round(self.away_s, 2),
            "frozen_away_s": round(self.frozen_away_s, 2),
            "broken": self.broken,
        }


@dataclass
class _Watched:
    """One model's rollout under way."""

    model: str
    end: str
    strategy: str
    id: str = ""
    place: tuple[str, int] | None = None
    asked: bool = False
    request_id: str = ""
    version: int = 0


class Experiment:
    """Kills controllers until enough were killed, then waits for the end of every rollout.

    Args:
        controllers: What is killed.
        worker: Answers and reports.
        models: Models with versions 1 and 2, of which rollouts go to and fro.
        kills: How many.
        choice: Where chance comes from.
        say: Told of progress.
    """

    def __init__(
        self,
        controllers: Controllers,
        worker: Worker,
        models: list[str],
        *,
        kills: int,
        choice: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self._controllers = controllers
        self._worker = worker
        self._kills = kills
        self._choice = choice
        self._say = say
        self._turn = 0
        self._watched = [self._next(model) for model in models]
        self._finding = Finding()
        self._over: set[str] = set()
        self._back_at = time.monotonic()
        self._next_random = 0.0

    def run(self) -> Finding:
        """Return what was seen."""
        self._plan_random()
        while self._finding.killed < self._kills:
            for watched in self._watched:
                self._look(watched, may_kill=True)
            if time.monotonic() >= self._next_random:
                self._kill("at any moment")
            time.sleep(_POLL_S)
        deadline = time.monotonic() + BOUND_S
        while any(self._look(watched, may_kill=False) for watched in self._watched):
            if time.monotonic() > deadline:
                left = [f"{each.id} is {each.place}" for each in self._watched if each.id not in self._over]
                self._finding.broken.append(f"not over {BOUND_S:g} s after the last controller's return: {left}")
                break
            time.sleep(_POLL_S)
        self._check_everything()
        return self._finding

    def _next(self, model: str) -> _Watched:
        """Return what comes next for a model: every strategy with every end, in turn."""
        cases = [(strategy, end) for strategy in STRATEGIES for end in ENDS]
        strategy, end = cases[self._turn % len(cases)]
        self._turn += 1
        return _Watched(model, end, strategy, request_id=f"{model}-{self._turn}-{self._choice.random()}")

    def _look(self, watched: _Watched, *, may_kill: bool) -> bool:
        """See where a rollout stands; return whether it is under way."""
        if not watched.id:
            return self._start(watched) if may_kill else False
        rollout = self._controllers.get(f"/v1/rollouts/{watched.id}")
        if rollout is None:
            return True
        place = (rollout["phase"], rollout["step"])
        changed, watched.place = place != watched.place, place
        if not rollout["active"]:
            self._end(watched, rollout)
        elif watched.end == "aborted" and rollout["phase"] == "progressing" and not watched.asked:
            watched.asked = self._said(watched)
        if changed and may_kill and self._choice.random() < _AFTER_TRANSITION:
            self._kill(f"after {place[0]}")
        if not rollout["active"] and may_kill:
            self._watched[self._watched.index(watched)] = self._next(watched.model)
        return bool(rollout["active"])

    def _start(self, watched: _Watched) -> bool:
        model = self._controllers.get(f"/v1/models/{watched.model}")
        if model is None or model["stable"] is None:
            return False
        watched.version = watched.version or 3 - model["stable"]
        failing = frozenset({watched.version}) if watched.end == "bad" else frozenset[int]()
        self._worker.failing[watched.model] = failing
        body = {"model": watched.model, "version": watched.version, "actor": "kills"}
        body |= {"request_id": watched.request_id, **STRATEGIES[watched.strategy]}
        answer = self._controllers.post("/v1/rollouts", body, self._choice.choice(self._controllers.parts))
        if answer is None or answer.status_code >= 500:  # noqa: PLR2004 - nobody leads: again, by the same name
            return False
        if not answer.is_success:
            self._finding.broken.append(f"a rollout of {watched.model} was refused: {answer.text}")
            watched.version, watched.request_id = 0, f"{watched.request_id}+"
            return False
        watched.id = answer.json()["id"]
        return True

    def _said(self, watched: _Watched) -> bool:
        body = {"actor": "kills", "request_id": f"{watched.request_id}-abort"}
        part = self._choice.choice(self._controllers.parts)
        answer = self._controllers.post(f"/v1/rollouts/{watched.id}/abort", body, part)
        return answer is not None and answer.status_code < 500  # noqa: PLR2004 - else nobody leads: again

    def _end(self, watched: _Watched, rollout: Mapping[str, Any]) -> None:
        if watched.id in self._over:
            return
        self._over.add(watched.id)
        phase = rollout["phase"]
        self._finding.rollouts[phase] = self._finding.rollouts.get(phase, 0) + 1
        took = time.monotonic() - self._back_at
        self._finding.longest_s = max(self._finding.longest_s, took)
        good = "concluded" if watched.strategy == "shadow" else ENDS["good"]
        expected = good if watched.end == "good" else ENDS[watched.end]
        # An abort that came late finds it promoted; nothing else may end otherwise than it must.
        if phase != expected and not (watched.end == "aborted" and phase == good):
            self._finding.broken.append(f"{watched.id} was to be {expected} and is {phase}")

    def _plan_random(self) -> None:
        leaving = all(each.place is not None and each.place[0] in _LEAVING for each in self._watched)
        self._next_random = time.monotonic() + self._choice.uniform(*(_LEAVING_S if leaving else _RANDOM_S))

    def _kill(self, when: str) -> None:
        """Kill one, or freeze a leader for longer than its lease, and wait until one leads again."""
        controllers, finding = self._controllers, self._finding
        leader = controllers.leader()
        victim = leader or self._choice.choice(controllers.parts)
        several = len(controllers.parts) > 1
        if several and self._choice.random() < 0.2:  # noqa: PLR2004 - now and then whoever it hits
            victim = self._choice.choice(controllers.parts)
        try:
            if several and leader is not None and self._choice.random() < 0.1:  # noqa: PLR2004 - these take long
                self._freeze(leader)
            else:
                finding.kills[when] = finding.kills.get(when, 0) + 1
                killed_at = time.monotonic()
                victim.kill()
                victim.start()
                controllers.until(lambda: controllers.leader() is not None, "a leader after a kill")
                finding.away_s = max(finding.away_s, time.monotonic() - killed_at)
            if not several or self._choice.random() < 0.5:  # noqa: PLR2004 - else the next kill may hit one that starts
                controllers.until(lambda: controllers.answers(victim), f"the return of {victim.name}")
        except Unavailable as error:
            finding.broken.append(error.message)
        self._back_at = time.monotonic()
        self._check_active()
        self._plan_random()
        if finding.killed % 10 == 0:
            self._say(f"{finding.killed} kills, {len(self._over)} rollouts over, {len(finding.broken)} broken promises")

    def _freeze(self, leader: Part) -> None:
        finding, frozen_at = self._finding, time.monotonic()
        finding.freezes += 1
        leader.signal(signal.SIGSTOP)
        try:
            others = [part for part in self._controllers.parts if part is not leader]
            self._controllers.until(
                lambda: any((self._controllers.get("/v1/leader", part) or {}).get("leading") for part in others),
                "another leader while the first is frozen",
                BOUND_S,
            )
            finding.frozen_away_s = max(finding.frozen_away_s, time.monotonic() - frozen_at)
            time.sleep(_FREEZE_S)
        finally:
            leader.signal(signal.SIGCONT)

    def _check_active(self) -> None:
        for watched in self._watched:
            if watched.id:
                self._check(watched.id, watched.model)

    def _check(self, rollout_id: str, model: str) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        """Look at what is stored of one rollout: first its history, then the state, which may be ahead of it."""
        rollout = self._controllers.get(f"/v1/rollouts/{rollout_id}")
        told = self._controllers.get(f"/v1/rollouts/{rollout_id}/history")
        again = self._controllers.get(f"/v1/rollouts/{rollout_id}")
        if rollout is None or told is None or again is None or again["phase"] != rollout["phase"]:
            return None
        if again["step"] != rollout["step"]:
            return None
        answered = self._worker.answered(model, rollout["candidate"], Role.CANDIDATE)
        self._finding.broken += broken_history(rollout, told["history"], answered)
        return rollout, told["history"]

    def _check_everything(self) -> None:
        """Look at the whole past: every history, every record, every route that was served."""
        found = self._controllers.get("/v1/rollouts?limit=1000")
        histories = []
        for rollout in found["rollouts"]:
            checked = self._check(rollout["id"], rollout["model"])
            if checked is None:
                continue
            histories.append(checked)
            page = self._controllers.get(f"/v1/audit?rollout={rollout['id']}&limit=1000")
            records = list(reversed(page["audit"]))
            self._finding.broken += broken_audit(rollout["id"], records, len(checked[1]))
        self._finding.broken += broken_sightings(self._worker.sightings, weights_by_candidate(histories))
