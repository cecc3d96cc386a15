"""Header fields of a request, of both protocols: names in lower case, values as they came."""

from __future__ import annotations

from collections.abc import Iterable


def first_value(fields: Iterable[tuple[bytes, bytes]], name: str) -> str:
    """Return the first value of a field as text, whatever the case of the name; empty without one."""
    wanted = name.lower().encode()
    for found, value in fields:
        if found == wanted:
            return value.decode("utf-8", "backslashreplace")
    return ""
