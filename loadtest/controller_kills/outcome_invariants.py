"""What must hold of the outcomes of an A/B test, whenever controllers were killed. Pure: broken promises out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from loadtest.controller_kills.feedback import Told
from loadtest.controller_kills.stored_outcomes import StoredOutcome
from services.core.analysis.checks.lift import LIFT_PREFIX

_SHOWN = 3


def broken_outcomes(
    name: str, stored: Sequence[StoredOutcome], told: Mapping[str, Told], acknowledged: Collection[str]
) -> list[str]:
    """Return what is wrong with the stored outcomes of a test.

    Args:
        name: The rollout.
        stored: What is stored.
        told: What was told, by the id of the request; read after what is stored.
        acknowledged: Requests whose outcomes were acknowledged; read before what is stored.
    """
    ids = [row.request_id for row in stored]
    lost = set(acknowledged).difference(ids)
    made_up = [row.request_id for row in stored if _differs(row, told.get(row.request_id))]
    found = []
    if len(ids) != len(set(ids)):
        found.append(f"{name}: {len(ids)} outcomes are stored of {len(set(ids))} requests")
    if lost:
        found.append(f"{name}: {len(lost)} acknowledged outcomes are not stored, such as {sorted(lost)[:_SHOWN]}")
    if made_up:
        found.append(f"{name}: {len(made_up)} outcomes are stored that nobody told so, such as {made_up[:_SHOWN]}")
    for version in sorted({row.version for row in stored}):
        rows = [row for row in stored if row.version == version]
        exact = (len(rows), sum(row.value for row in rows))
        totals = {(row.counted, row.total) for row in rows}
        if totals != {exact}:
            found.append(f"{name}: version {version} has {exact} outcomes and their sum, and its totals say {totals}")
    return found


def _differs(row: StoredOutcome, told: Told | None) -> bool:
    return told is None or (row.version, row.value) != (told.version, told.value)


def broken_verdicts(
    name: str,
    lines: Sequence[Mapping[str, Any]],
    stored: Sequence[StoredOutcome],
    told: Mapping[str, Told],
    winner: int,
) -> list[str]:
    """Return what is wrong with the verdicts in a test's history.

    A verdict may count what was told by then and is stored: acknowledged, or with the answer still on its way.

    Args:
        name: The rollout.
        lines: Its history; read before ``stored``.
        stored: Its stored outcomes.
        told: What was told, by the id of the request.
        winner: The version whose outcomes are better, where any arm's are.
    """
    found = list[str]()
    for line in lines:
        if line["judged"] is None:
            continue
        at = f"{name}: the verdict that led to {line['target']}"
        by_then = [row for row in stored if row.request_id in told and told[row.request_id].at <= line["at"]]
        counts = {int(version): totals["count"] for version, totals in line["judged"]["outcomes"].items()}
        for version, count in counts.items():
            most = sum(row.version == version for row in by_then)
            if count > most:
                found.append(f"{at} counts {count} outcomes of version {version}, and {most} were told by then")
        for version, numbers in _lifts(line["judged"]["verdict"]):
            if numbers["outcomes"] != counts.get(version, 0):
                found.append(
                    f"{at} speaks of {numbers['outcomes']} outcomes of version {version}, and was made of {counts}"
                )
            if numbers["winner"] and version != winner:
                found.append(f"{at} names version {version} as the winner, and {winner} has the better outcomes")
    return found


def _lifts(verdict: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for check in verdict["checks"]:
        if check["name"].startswith(LIFT_PREFIX):
            yield int(check["name"].removeprefix(LIFT_PREFIX)), check["numbers"]
