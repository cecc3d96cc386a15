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
        if isinstance(value, Mapping):
            tables.append(_table(str(name), value))
        elif isinstance(value, list | tuple):
            tables.append(_table(str(name), {str(_name(index, each)): each for index, each in enumerate(value)}))
        else:
            numbers.append(words.labelled(str(name), value))
    return Differences(tuple(numbers), tuple(table for table in tables if table.rows))


def _name(index: int, value: object) -> object:
    if isinstance(value, Mapping):
        return value.get("output") or value.get("name") or index
    return index


def _table(title: str, document: Mapping[object, object]) -> DifferenceTable:
    found = list(islice(document.items(), _MOST_ROWS))
    names: dict[str, None] = {}
    for _, value in found:
        names |= dict.fromkeys(str(name) for name in value) if isinstance(value, Mapping) else {"": None}
    columns = tuple(islice(names, _MOST_COLUMNS))
    rows = []
    for name, value in found:
        inner = {str(key): each for key, each in value.items()} if isinstance(value, Mapping) else {"": value}
        cells = tuple(words.labelled(column, inner[column])[1] if column in inner else "" for column in columns)
        rows.append((str(name), cells))
    heads = tuple(column.removesuffix("_s").replace("_", " ") or "value" for column in columns)
    return DifferenceTable(title.replace("_", " "), heads, tuple(rows))
