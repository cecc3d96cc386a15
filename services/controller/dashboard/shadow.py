"""Differences between the answers of both versions to the same requests, where the evidence has them. Pure.

What a comparison holds is decided elsewhere and may grow: named numbers are shown as they are called, and nested ones
as a table, one line for each name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from services.controller.dashboard import words

_MOST_ROWS = 64
_MOST_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class DifferenceTable:
    """Nested numbers: ``rows`` are (name, cells)."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Differences:
    """What is known of the pairs."""

    numbers: tuple[tuple[str, str], ...]
    tables: tuple[DifferenceTable, ...]


def differences_of(comparison: object) -> Differences | None:
    """Return what a rollout view's ``evidence.comparison`` says; None where there is none."""
    if not isinstance(comparison, Mapping) or not comparison:
        return None
    numbers, tables = [], []
    for name, value in islice(comparison.items(), _MOST_ROWS):
        rows = _named(value)
        if rows is None:
            numbers.append((words.labelled(str(name), None)[0], _text(str(name), value)))
        elif rows and all(not isinstance(each, Mapping) for each in rows.values()):
            numbers += [_within(str(name), inner, each) for inner, each in rows.items()]
        elif rows:
            tables.append(_table(str(name), rows))
    return Differences(tuple(numbers), tuple(tables))


def _named(value: object) -> dict[str, object] | None:
    """Return the parts of a value by name, so many of them as are shown; None where it is a single one."""
    if isinstance(value, Mapping):
        return {str(name): each for name, each in islice(value.items(), _MOST_ROWS)}
    if isinstance(value, list | tuple) and all(isinstance(each, Mapping) for each in value):
        return {str(each.get("output") or each.get("name") or i): each for i, each in enumerate(value[:_MOST_ROWS])}
    return None


def _table(title: str, rows: Mapping[str, object]) -> DifferenceTable:
    flat = {name: _flat(value) for name, value in rows.items()}
    columns = tuple(islice(dict.fromkeys(column for cells in flat.values() for column in cells), _MOST_COLUMNS))
    lines = tuple((name, tuple(cells.get(column, "") for column in columns)) for name, cells in flat.items())
    return DifferenceTable(title.replace("_", " "), columns, lines)


def _flat(value: object) -> dict[str, str]:
    """Return a line's cells by column; what is nested once more has a column for each part."""
    if not isinstance(value, Mapping):
        return {"value": _text("", value)}
    cells: dict[str, str] = {}
    for name, each in islice(value.items(), _MOST_COLUMNS):
        if isinstance(each, Mapping):
            cells |= dict(_within(str(name), str(inner), part) for inner, part in islice(each.items(), _MOST_COLUMNS))
        else:
            label, _ = words.labelled(str(name), None)
            cells[label] = _text(str(name), each)
    return cells


def _within(outer: str, name: str, value: object) -> tuple[str, str]:
    label, _ = words.labelled(name, None)
    return f"{outer.replace('_', ' ')}: {label}", _text(name, value)


def _text(name: str, value: object) -> str:
    if isinstance(value, Mapping | list | tuple):
        return f"{len(value)} values"
    return words.labelled(name, value)[1]
