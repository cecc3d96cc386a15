"""Rollouts of several models while controllers are killed; every promise is looked at after every kill."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loadtest.controller_kills.controllers import Controllers
from loadtest.controller_kills.feedback import Script
from loadtest.controller_kills.finding import Finding
from loadtest.controller_kills.invariants import (
    broken_audit,
    broken_end,
    broken_history,
    broken_sightings,
    splits_by_candidate,
)
from loadtest.controller_kills.killer import Killer
from loadtest.controller_kills.outcome_invariants import broken_outcomes, broken_verdicts
from loadtest.controller_kills.scenarios import START, Change, cast_of, request_of
from loadtest.controller_kills.stored_outcomes import StoredOutcomes
from loadtest.controller_kills.watched import Watched
from loadtest.controller_kills.worker import Worker
from services.core.route import Role

BOUND_S = 30.0
_POLL_S = 0.02
_AFTER_CHANGE = 0.5
# A controller that has just begun to lead waits 10 s for workers that it may not know: the last transition needs that.
_BETWEEN_S = (0.2, 24.0)
_NO_LEADER = 500  # an answer with this status or more: nobody leads, and it is asked for again by the same name


class Experiment:
    """Kills controllers until enough were killed, then waits for the end of every rollout.

    Args:
        controllers: What is killed.
        worker: Answers and reports.
        stored: The outcomes in the controllers' database.
        models: Models of several versions, of which rollouts go to and fro.
        kills: How many.
        choice: Where chance comes from.
        say: Told of progress.
    """

    def __init__(
        self,
        controllers: Controllers,
        worker: Worker,
        stored: StoredOutcomes,
        models: list[str],
        *,
        kills: int,
        choice: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self._controllers = controllers
        self._worker = worker
        self._stored = stored
        self._kills = kills
        self._choice = choice
        self._say = say
        self._finding = Finding()
        self._killer = Killer(controllers, choice, self._finding)
        self._watched = [self._next(model) for model in models]
        self._started: dict[str, Watched] = {}
        self._at_any_moment = time.monotonic() + choice.uniform(*_BETWEEN_S)

    def run(self) -> Finding:
        """Return what was seen."""
        while self._finding.killed < self._kills:
            self._begin()
            changed = [watched for watched in self._watched if self._look(watched)]
            if not self._kill_after_changes(changed) and time.monotonic() >= self._at_any_moment:
                self._kill("at any moment")
                self._at_any_moment = time.monotonic() + self._choice.uniform(*_BETWEEN_S)
            time.sleep(_POLL_S)
        self._finish()
        self._check_everything()
        return self._finding

    def _finish(self) -> None:
        """Wait for the end of everything that was asked for."""
        asked = [watched for watched in self._watched if watched.cast is not None]
        deadline = time.monotonic() + BOUND_S
        while not all(watched.over for watched in asked):
            for watched in asked:
                if not watched.id:
                    self._start(watched)
                self._look(watched)
            if time.monotonic() > deadline:
                left = [f"{each.id or each.request_id} is {each.place}" for each in asked if not each.over]
                self._finding.broken.append(f"not over {BOUND_S:g} s after the last controller's return: {left}")
                break
            time.sleep(_POLL_S)

    def _next(self, model: str) -> Watched:
        """Return what comes next for a model."""
        return Watched(model, self._finding.followed.next_case(), f"{model}-{self._choice.random()}")

    def _begin(self) -> None:
        """Begin what is next for each model that has nothing under way."""
        for place, watched in enumerate(self._watched):
            if watched.over:
                self._watched[place] = self._next(watched.model)
            if not self._watched[place].id:
                self._start(self._watched[place])

    def _look(self, watched: Watched) -> bool:
        """See where a rollout stands; return whether it has changed."""
        rollout = self._controllers.get(f"/v1/rollouts/{watched.id}") if watched.id and not watched.over else None
        if rollout is None:
            return False
        place = (rollout["phase"], rollout["step"])
        changed, watched.place = place != watched.place, place
        if not rollout["active"]:
            self._end(watched, rollout)
        elif (word := watched.next_word()) is not None:
            self._speak(watched, *word)
        return changed

    def _start(self, watched: Watched) -> None:
        model = self._controllers.get(f"/v1/models/{watched.model}")
        if model is None or model["stable"] is None:
            return
        if watched.cast is None:
            watched.seen_before = len(self._worker.sightings)
        cast = watched.cast = watched.cast or cast_of(watched.case, model["stable"], self._choice)
        self._worker.failing[watched.model] = cast.failing
        self._worker.scripts[watched.model] = Script(watched.request_id, cast.rates)
        body = request_of(watched.case, cast, watched.model, watched.request_id)
        answer = self._controllers.post("/v1/rollouts", body, self._choice.choice(self._controllers.parts))
        if answer is None or answer.status_code >= _NO_LEADER:
            return
        if not answer.is_success:
            self._finding.broken.append(f"a rollout of {watched.model} was refused: {answer.text}")
            watched.cast, watched.request_id = None, f"{watched.request_id}+"
            return
        watched.id = answer.json()["id"]
        self._started[watched.id] = watched

    def _speak(self, watched: Watched, number: int, verb: str) -> None:
        body = {"actor": "kills", "request_id": f"{watched.request_id}-{verb}"}
        part = self._choice.choice(self._controllers.parts)
        answer = self._controllers.post(f"/v1/rollouts/{watched.id}/{verb}", body, part)
        if answer is not None and answer.status_code < _NO_LEADER:
            watched.said = number + 1

    def _end(self, watched: Watched, rollout: Mapping[str, Any]) -> None:
        watched.over = True
        phase = rollout["phase"]
        name = f"{watched.case.strategy} {phase}"
        self._finding.rollouts[name] = self._finding.rollouts.get(name, 0) + 1
        took = time.monotonic() - self._killer.back_at
        self._finding.longest_s = max(self._finding.longest_s, took)
        if phase not in watched.case.phases:
            expected = " or ".join(sorted(watched.case.phases))
            self._finding.broken.append(f"{watched.id} was to be {expected} and is {phase}: {rollout['reason']}")

    def _kill_after_changes(self, changed: Sequence[Watched]) -> bool:
        """Kill right after changes: always where one was followed by the fewest kills, else now and then.

        Returns:
            Whether there was a kill, or something like it.
        """
        followed, changes = self._finding.followed, list[tuple[str, Change]]()
        for watched in changed:
            told = self._controllers.get(f"/v1/rollouts/{watched.id}/history")
            if told is not None:
                line = told["history"][-1]
                changes.append((watched.case.strategy, Change(line["source"] or START, line["target"])))
        rarest = any(followed.is_rarest(*change) for change in changes)
        if not changes or not (rarest or self._choice.random() < _AFTER_CHANGE):
            return False
        if self._kill("after a change"):
            for change in changes:
                followed.add(*change)
        return True

    def _kill(self, when: str) -> bool:
        """Kill one controller and look at every promise; return whether it was the leader."""
        led = self._killer.strike(when)
        for watched in self._watched:
            if watched.id:
                self._check_served(watched)
        killed, broken = self._finding.killed, len(self._finding.broken)
        if killed % 10 == 0:
            over = sum(self._finding.rollouts.values())
            left = len(self._finding.followed.never())
            self._say(f"{killed} kills, {over} rollouts over, {left} changes without a kill, {broken} broken promises")
        return led

    def _check_served(self, watched: Watched) -> None:
        """Look at what is stored of the latest rollout of a model, and at what was served since it was asked for."""
        seen = self._worker.sightings[watched.seen_before :]
        checked = self._check(watched)
        if checked is not None:
            mine = [each for each in seen if each.model == watched.model]
            self._finding.note(broken_sightings(mine, splits_by_candidate([checked])))

    def _check(self, watched: Watched) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        """Look at what is stored of one rollout: first its history, then the state, which may be ahead of it."""
        name, cast = watched.id, watched.cast
        acknowledged = self._worker.book.acknowledged(watched.request_id)
        rollout = self._controllers.get(f"/v1/rollouts/{name}")
        told = self._controllers.get(f"/v1/rollouts/{name}/history")
        again = self._controllers.get(f"/v1/rollouts/{name}")
        if rollout is None or told is None or again is None or cast is None or again["phase"] != rollout["phase"]:
            return None
        if again["step"] != rollout["step"]:
            return None
        lines = told["history"]
        answered = self._worker.answered(watched.model, rollout["candidate"], Role.CANDIDATE)
        self._finding.note(broken_history(rollout, lines, answered))
        if cast.rates:
            stored = self._stored.of(name)
            outcomes = self._worker.book.told(watched.request_id)
            self._finding.note(broken_outcomes(name, stored, outcomes, acknowledged))
            self._finding.note(broken_verdicts(name, lines, stored, outcomes, cast.winner))
        return rollout, lines

    def _check_everything(self) -> None:
        """Look at the whole past: every history, every record, every outcome, every route that was served."""
        histories = []
        for name, watched in self._started.items():
            checked = self._check(watched)
            if checked is None or watched.cast is None:
                self._finding.broken.append(f"{name}: nobody tells of it, or it still changes")
                continue
            histories.append(checked)
            rollout, lines = checked
            page = self._controllers.get(f"/v1/audit?rollout={name}&limit=1000")
            records = list(reversed(page["audit"]))
            self._finding.note(broken_audit(name, records, len(lines)))
            if not rollout["active"]:
                self._finding.note(broken_end(rollout, records, watched.cast.winner))
            self._finding.outcomes += len(self._worker.book.acknowledged(watched.request_id))
        self._finding.repeated = self._worker.book.repeated
        self._finding.note(self._worker.book.faults)
        self._finding.note(broken_sightings(self._worker.sightings, splits_by_candidate(histories)))
