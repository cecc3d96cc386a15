"""What must hold of every rollout, whenever controllers were killed. Pure: documents in, broken promises out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from loadtest.controller_kills.worker import Sighting, Split
from services.core.rollouts.transitions import TRANSITIONS

_ROWS = {(row.source.value, row.event.value, row.target.value) for row in TRANSITIONS}
_WEIGHTED = frozenset({row.source.value for row in TRANSITIONS if row.event.value == "assessed"})


def broken_history(rollout: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], answered: int) -> list[str]:
    """Return what is wrong with a rollout's stored history.

    Args:
        rollout: The rollout, as REST shows it.
        lines: Its history, oldest first.
        answered: How many requests its candidate really answered.
    """
    name, found = rollout["id"], list[str]()
    if lines[0]["source"] is not None or lines[0]["event"] != "start":
        found.append(f"{name}: the first line is {lines[0]['event']}")
    for before, after in pairwise(lines):
        if after["source"] != before["target"]:
            found.append(f"{name}: {before['target']} is followed by a line from {after['source']}")
        if (after["source"], after["event"], after["target"]) not in _ROWS:
            found.append(f"{name}: no such transition: {after['source']} -{after['event']}-> {after['target']}")
        found += _broken_raise(name, after, answered)
    changes = [(line["source"], line["target"], line["target_weight_percent"]) for line in lines]
    steps = [change for change in changes if "paused" not in change]
    if len(steps) != len(set(steps)):
        found.append(f"{name}: a change is told twice: {steps}")
    if lines[-1]["target"] != rollout["phase"]:
        found.append(f"{name}: it is {rollout['phase']} and its history ends with {lines[-1]['target']}")
    return found


def _broken_raise(name: str, line: Mapping[str, Any], answered: int) -> list[str]:
    raised = line["target_weight_percent"] > line["source_weight_percent"] > 0
    if not raised or line["event"] != "assessed":
        return []
    at = f"{name}: the weight rose to {line['target_weight_percent']} %"
    judged = line["judged"]
    if judged is None:
        return [f"{at} without evidence"]
    found = []
    if judged["verdict"]["outcome"] != "pass":
        found.append(f"{at} on {judged['verdict']['outcome']}")
    if not 0 < judged["candidate"]["requests"] <= answered:
        found.append(f"{at} on {judged['candidate']['requests']} requests, and {answered} were answered")
    return found


def broken_audit(rollout_id: str, records: Iterable[Mapping[str, Any]], lines: int) -> list[str]:
    """Return what is wrong with the audit log of a rollout.

    Args:
        rollout_id: The rollout.
        records: All of its records, oldest first.
        lines: How many lines its history has.
    """
    changes = [each for each in records if each["outcome"] == "done" and each["action"] != "route"]
    found = []
    if len(changes) != lines:
        found.append(f"{rollout_id}: {len(changes)} changes in the audit log and {lines} in the history")
    for before, after in pairwise(changes):
        if after["source"] != before["target"]:
            found.append(f"{rollout_id}: a record begins with {after['source']} after {before['target']}")
    return found


def broken_end(rollout: Mapping[str, Any], records: Iterable[Mapping[str, Any]], winner: int) -> list[str]:
    """Return what is wrong with the route that a rollout has left behind.

    Args:
        rollout: A rollout that is over.
        records: All of its audit records, oldest first.
        winner: The version that was to be promoted if any was.
    """
    routes = [each["target"] for each in records if each["outcome"] == "done" and each["action"] == "route"]
    expected = (winner if rollout["phase"] == "promoted" else rollout["stable"], None)
    found = (routes[-1]["stable"], routes[-1]["candidate"]) if routes else None
    if found == expected:
        return []
    return [f"{rollout['id']}: it is {rollout['phase']} and left the route {found}; expected {expected}"]


def broken_sightings(sightings: Iterable[Sighting], splits: Mapping[tuple[str, int], set[Split]]) -> list[str]:
    """Return what is wrong with the routes that a worker was told to serve.

    Args:
        sightings: Routes with a candidate.
        splits: What stored rollouts give a model's candidate, by model and version.
    """
    found = []
    for seen in sightings:
        at = f"{seen.model}: version {seen.candidate} at {seen.split}"
        if seen.split not in splits.get((seen.model, seen.candidate), set()):
            found.append(f"{at} was served and is in no stored history")
        if not seen.versions.union(version for version, _ in seen.split.arms) <= seen.loaded:
            found.append(f"{at} was served while {sorted(seen.loaded)} were loaded")
    return found


def splits_by_candidate(
    histories: Iterable[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]],
) -> dict[tuple[str, int], set[Split]]:
    """Return how stored rollouts share out the traffic while their candidates have a part of it."""
    splits: dict[tuple[str, int], set[Split]] = {}
    for rollout, lines in histories:
        asked = rollout["spec"]["experiment"]
        arms = tuple((arm["version"], arm["weight_percent"]) for arm in asked["arms"]) if asked else ()
        known = splits.setdefault((rollout["model"], rollout["candidate"]), set())
        known |= {Split(line["target_weight_percent"], arms) for line in lines if line["target"] in _WEIGHTED}
    return splits
