"""The small types of a recipe: paths that stay in its folder, functions in its files, names, sizes."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

_FUNCTION = re.compile(r"(?P<file>[^:]+\.py):(?P<name>[A-Za-z_]\w*)")
_IMPORTABLE = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path or not parts.name:
        raise ValueError("expected a path relative to the recipe's folder and inside it")
    return path


def _function(reference: str) -> str:
    match = _FUNCTION.fullmatch(reference)
    if match is None:
        raise ValueError("expected 'file.py:function'")
    _inside(match["file"])
    return reference


def _factory(reference: str) -> str:
    if ".py:" in reference:
        return _function(reference)
    if not _IMPORTABLE.fullmatch(reference):
        raise ValueError("expected 'file.py:function', or 'package.module:function' of an installed package")
    return reference


InsidePath = Annotated[str, AfterValidator(_inside)]
FunctionRef = Annotated[str, AfterValidator(_function)]
FactoryRef = Annotated[str, AfterValidator(_factory)]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
TensorName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.:/-]{0,99}$")]
# Names of variants and metrics: they become file names and keys.
ShortName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,49}$")]
Dim = Annotated[int, Field(ge=-1, le=1 << 31)]
BatchSize = Annotated[int, Field(ge=1, le=1 << 16)]


class Part(BaseModel):
    """A part of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def split_function(reference: str) -> tuple[str, str]:
    """Return the file (or module) and the name of a ``file.py:function``."""
    file, _, name = reference.rpartition(":")
    return file, name
