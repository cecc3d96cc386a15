"""Frozen dataclasses to JSON and back, strictly: an unknown, missing, repeated or mistyped key is an error.

What is read is what was written, field for field; nothing is filled in, converted or dropped. Supported are ``str``,
``int``, ``float``, ``bool``, dataclasses, ``tuple[X, ...]``, ``dict[str, X]`` and ``X | None``.
"""

from __future__ import annotations

import dataclasses
import json
import types
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_MAX_EXACT = 2**53  # every integer up to here is a float of the same value


def to_json(value: Any) -> str:
    """Return indented JSON that ends with a newline; keys come in the order of the fields.

    Raises:
        ValueError: A float is NaN or infinite, which JSON cannot carry.
    """
    return json.dumps(dataclasses.asdict(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str | bytes, kind: type[T]) -> T:
    """Read one dataclass.

    Raises:
        ValueError: Not JSON, or it does not fit the dataclass; says where, what was found and what was expected.
    """
    try:
        tree = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply to be read") from error
    found: T = _read(tree, kind, "")
    return found


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"key '{repeated[0]}' is there twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number that JSON knows")


def _read(tree: Any, kind: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if tree is None and type(None) in arguments:
            return None
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _read(tree, inner, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _read_dataclass(tree, kind, where)
    if origin is tuple:
        _expect(tree, list, where)
        return tuple(_read(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(tree))
    if origin is dict:
        _expect(tree, dict, where)
        return {key: _read(item, arguments[1], f"{where}.{key}") for key, item in tree.items()}
    return _read_scalar(tree, kind, where)


def _read_scalar(tree: Any, kind: type, where: str) -> Any:
    if kind is float and isinstance(tree, int) and not isinstance(tree, bool) and abs(tree) <= _MAX_EXACT:
        return float(tree)
    if type(tree) is not kind:
        raise ValueError(f"{where.lstrip('.')}: expected {kind.__name__}, found {_name(tree)}")
    return tree


def _read_dataclass(tree: Any, kind: type, where: str) -> Any:
    _expect(tree, dict, where)
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    for key in tree:
        if key not in names:
            raise ValueError(f"{where.lstrip('.') or 'document'}: unknown key '{key}'; expected {', '.join(names)}")
    for name in names:
        if name not in tree:
            raise ValueError(f"{where.lstrip('.') or 'document'}: key '{name}' is missing")
    return kind(**{name: _read(tree[name], hints[name], f"{where}.{name}") for name in names})


def _expect(tree: Any, kind: type, where: str) -> None:
    if not isinstance(tree, kind):
        words = "a list" if kind is list else "an object"
        raise ValueError(  # noqa: TRY004 - one class for everything that does not fit
            f"{where.lstrip('.') or 'document'}: expected {words}, found {_name(tree)}"
        )


def _name(tree: Any) -> str:
    return "null" if tree is None else f"{type(tree).__name__} {json.dumps(tree)[:40]}"
