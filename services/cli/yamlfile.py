"""YAML files, read strictly: a wrong key is an error that names file, line, field and the nearest valid key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from services.core.errors import ConfigurationError

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]
# What PyYAML raises, beside its own errors, for a value that has the form of a date or a number only.
_WRONG_SCALAR = (ValueError, LookupError, AttributeError, OverflowError)


def load_yaml(path: Path, model: type[Model]) -> Model:
    """Read a YAML file into a pydantic model.

    Raises:
        ConfigurationError: The file is missing, is not YAML, or does not fit the model; every fault is named.
    """
    tree = _compose(path)
    value = _construct(path, tree)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = [_describe(path, tree, model, fault) for fault in error.errors()]
        raise ConfigurationError("\n".join(faults)) from error


def _compose(path: Path) -> yaml.Node:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); give the path of a YAML file") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8 text at byte {error.start}") from error
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(tree, yaml.MappingNode):
        raise ConfigurationError(f"{path}:1: expected keys and values, found {'nothing' if tree is None else tree.tag}")
    return tree


def _construct(path: Path, tree: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        _refuse_wrong_keys(path, tree)
        return loader.construct_document(tree)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not valid YAML: {error}") from error
    except _WRONG_SCALAR as error:
        raise _wrong_scalar(path, tree, error) from error
    finally:
        loader.dispose()


def _wrong_scalar(path: Path, tree: yaml.Node, error: Exception) -> ConfigurationError:
    """Return the error for a value that looks like a date or a number, and is none."""
    loader = yaml.SafeLoader("")
    for node in _scalars(tree):
        try:
            with suppress(yaml.YAMLError):  # such as a merge key, which is nothing by itself
                loader.construct_object(node)
        except _WRONG_SCALAR as fault:
            line, kind = node.start_mark.line + 1, node.tag.rpartition(":")[2]
            return ConfigurationError(
                f"{path}:{line}: '{node.value}' is no {kind} ({fault}); correct it, or quote it where it is a text"
            )
    return ConfigurationError(f"{path}: not valid YAML: {error}")


def _scalars(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            for part in pair:
                yield from _scalars(part)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalars(item)


def _refuse_wrong_keys(path: Path, node: yaml.Node) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigurationError(
                    f"{path}:{line}: a key is a list or a mapping; expected a text, in quotes where it begins with a "
                    "bracket or a brace"
                )
            if key.value in seen:
                raise ConfigurationError(
                    f"{path}:{line}: key '{key.value}' is there twice, first in line {seen[key.value]}"
                )
            seen[key.value] = line
            _refuse_wrong_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_wrong_keys(path, item)


def _describe(path: Path, tree: yaml.Node, model: type[BaseModel], fault: ErrorDetails) -> str:
    location = fault["loc"]
    line = _line_of(tree, location)
    field = ".".join(str(part) for part in location)
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{path}:{line}: unknown key '{field}'{_suggest(model, location)}"
    if fault["type"] == "missing":
        return f"{path}:{line}: key '{field}' is missing"
    found = "" if isinstance(fault["input"], dict | list) else f", found {fault['input']!r}"
    return f"{path}:{line}: {field or 'document'}: {fault['msg']}{found}"


def _line_of(node: yaml.Node, location: Location) -> int:
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _suggest(model: type[BaseModel], location: Location) -> str:
    valid = _keys_at(model, location[:-1])
    near = difflib.get_close_matches(str(location[-1]), valid, n=1, cutoff=0.5)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; valid keys here: {', '.join(sorted(valid))}" if valid else ""


def _keys_at(model: type[BaseModel], location: Location) -> list[str]:
    """Return the valid keys of the mapping that a location leads to."""
    here: list[type[Any]] = [model]
    for part in location:
        annotations = [found[part] for found in map(_annotations, here) if isinstance(part, str) and part in found]
        if annotations:  # a list index or the key of a free mapping stays at the same models
            here = [found for annotation in annotations for found in _models_in(annotation)]
    return sorted({key for m in here for key in _keys(m)})


def _annotations(model: type[Any]) -> dict[str, Any]:
    if issubclass(model, BaseModel):
        return {name: field.annotation for name, field in model.model_fields.items()}
    return get_type_hints(model)


def _keys(model: type[Any]) -> list[str]:
    if issubclass(model, BaseModel):
        return [field.alias or name for name, field in model.model_fields.items()]
    return [field.name for field in fields(model)]


def _models_in(annotation: Any) -> list[type[Any]]:
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or is_dataclass(annotation)):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]
