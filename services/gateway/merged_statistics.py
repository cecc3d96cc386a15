"""Triton's statistics of several replicas as one document of the same form. Pure.

Counts and times add up, the moment of the last inference is the latest, and what is memory of one process is the sum of
all. Source of the form: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.core.errors import UpstreamFailure

_ROWS = "model_stats"
# Where rows of a list belong together, what tells them apart; other lists are joined.
_KEYS = {"batch_stats": ("batch_size",), "memory_usage": ("type", "id")}
_LATEST = frozenset({"last_inference"})
# Numbers that say what a row is about, and are not counts.
_NAMES = frozenset({"batch_size", "id"})

Document = dict[str, Any]


def merge_statistics(documents: Iterable[Document]) -> Document:
    """Return one document for the statistics of all replicas, rows sorted by model and version.

    Raises:
        UpstreamFailure: A document is not of Triton's form.
    """
    rows: dict[tuple[str, int], Document] = {}
    try:
        for document in documents:
            for row in document[_ROWS]:
                key = (row["name"], int(row["version"]))
                rows[key] = _merged(rows[key], row) if key in rows else row
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UpstreamFailure(f"Triton's statistics make no sense: {error!r}") from error
    return {_ROWS: [rows[key] for key in sorted(rows)]}


def _merged(one: Document, other: Document) -> Document:
    merged = dict(one)
    for name, value in other.items():
        merged[name] = _value(name, merged[name], value) if name in merged else value
    return merged


def _value(name: str, one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        return _merged(one, other)
    if isinstance(one, list):
        return _list(_KEYS.get(name, ()), one, other)
    if isinstance(one, str) or name in _NAMES:
        return one
    return max(one, other) if name in _LATEST else one + other


def _list(key: tuple[str, ...], one: list[Any], other: list[Any]) -> list[Any]:
    if not key:
        return [*one, *other]
    rows = {tuple(row[name] for name in key): row for row in one}
    for row in other:
        place = tuple(row[name] for name in key)
        rows[place] = _merged(rows[place], row) if place in rows else row
    return [rows[place] for place in sorted(rows)]
