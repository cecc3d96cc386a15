"""Rollouts and their history in words and table rows. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

LIST_COLUMNS = ("rollout", "stable", "candidate", "phase", "step", "weight", "reason")
_LISTED_REASON = 110
AUDIT_COLUMNS = ("when", "who", "what", "rollout", "outcome", "from", "to", "why", "controller")
HISTORY_COLUMNS = ("when", "phase", "weight", "event", "who", "why")


def one_line(rollout: dict[str, Any]) -> str:
    """Return where a rollout stands: phase, step, weight and what was seen in this step."""
    seen = rollout["evidence"]
    return (
        f"{rollout['phase']}, version {rollout['stable']} -> {rollout['candidate']}, "
        f"step {rollout['step']} of {rollout['steps']}, weight {rollout['weight_percent']} %, "
        f"requests in this step: candidate {seen['candidate']['requests']}, stable {seen['stable']['requests']}"
    )


def describe(rollout: dict[str, Any]) -> list[str]:
    """Return everything that a person wants to know of a rollout, line by line."""
    lines = [f"{rollout['id']}: {one_line(rollout)}", f"why: {rollout['reason']}"]
    lines += [f"{side}: {_tally_words(rollout['evidence'][side])}" for side in ("stable", "candidate")]
    lines += [f"version {arm}: {_tally_words(tally)}" for arm, tally in rollout["evidence"]["arms"].items()]
    for version, fed_back in rollout["evidence"]["outcomes"].items():
        lines.append(f"outcomes of version {version}: {fed_back['outcomes']}, mean {fed_back['mean']:.4g}")
    verdict = rollout["verdict"]
    if verdict:
        lines.append(f"verdict: {verdict['outcome']}")
        lines += [f"  {check['outcome']:12} {check['text']}" for check in verdict["checks"]]
    if rollout["verbs"]:
        lines.append(f"possible now: {', '.join(rollout['verbs'])}")
    return lines


def _tally_words(tally: dict[str, Any]) -> str:
    quantiles = ", ".join(f"p{q} {_ms(tally[f'p{q}_s'])}" for q in (50, 95, 99))
    return f"{tally['requests']} requests, {tally['failed']} failed, {tally['non_finite']} not finite, {quantiles}"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.2f} ms"


def list_row(rollout: dict[str, Any]) -> tuple[object, ...]:
    """Return a row under ``LIST_COLUMNS``."""
    step = f"{rollout['step']}/{rollout['steps']}"
    versions = (rollout["stable"], rollout["candidate"])
    weight = f"{rollout['weight_percent']} %"
    return (rollout["id"], *versions, rollout["phase"], step, weight, _beginning(rollout["reason"]))


def _beginning(reason: str) -> str:
    """Return so much of a reason that a list stays a list; ``penstock rollout get`` shows all of it."""
    return reason if len(reason) <= _LISTED_REASON else f"{reason[:_LISTED_REASON].rstrip()} ..."


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _standing_words(standing: dict[str, Any] | None) -> str:
    if standing is None:
        return "-"
    versions = f"{standing['stable']}" + (f"/{standing['candidate']}" if standing["candidate"] else "")
    phase = f"{standing['phase']}, step {standing['step'] + 1}, " if standing["phase"] else ""
    return f"{phase}version {versions}, {standing['weight_percent']} %"


def audit_row(record: dict[str, Any]) -> tuple[object, ...]:
    """Return a row under ``AUDIT_COLUMNS``; times are UTC."""
    states = (_standing_words(record["source"]), _standing_words(record["target"]))
    what = (record["action"], record["rollout"] or record["model"] or "-", record["outcome"])
    return (_when(record["at"]), record["actor"], *what, *states, _beginning(record["reason"]), record["instance"])


def history_row(line: dict[str, Any]) -> tuple[object, ...]:
    """Return a row under ``HISTORY_COLUMNS``; times are UTC."""
    phase = f"{line['source']} -> {line['target']}" if line["source"] else line["target"]
    weight = f"{line['source_weight_percent']} -> {line['target_weight_percent']} %"
    return _when(line["at"]), phase, weight, line["event"], line["actor"], line["reason"]
