"""Class labels: a text file with one class per line."""

from __future__ import annotations

from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.tensors import Output
from enginebuild.recipecode import RecipeCode
from services.core.errors import ConfigurationError

Labels = dict[str, tuple[str, ...]]


def read_labels(recipe: Recipe, code: RecipeCode) -> Labels:
    """Return the classes of each output that has some.

    Raises:
        ConfigurationError: A file is missing, or its lines are not as many as the output's scores.
    """
    return {output.name: _read(output, output.labels, code) for output in recipe.outputs if output.labels}


def text_of(labels: tuple[str, ...]) -> str:
    """Return the label file as Triton reads it."""
    return "".join(f"{label}\n" for label in labels)


def _read(output: Output, file: str, code: RecipeCode) -> tuple[str, ...]:
    path = code.path(file)
    try:
        lines = tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"labels of output '{output.name}': {path} cannot be read as text: {error}") from error
    if len(lines) != output.dims[0] or not all(line.strip() for line in lines):
        raise ConfigurationError(
            f"labels of output '{output.name}': {path} has {sum(bool(line.strip()) for line in lines)} labels in "
            f"{len(lines)} lines; expected {output.dims[0]}, one per line"
        )
    return lines
