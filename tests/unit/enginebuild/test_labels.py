"""As many classes as scores, or none at all."""

from pathlib import Path

import pytest
from enginebuild.labels import read_labels, text_of
from enginebuild.recipecode import RecipeCode

from services.core.errors import ConfigurationError
from tests.fakes import tiny_recipe


def test_each_line_is_a_class(tmp_path: Path) -> None:
    tiny_recipe.write(tmp_path)
    with RecipeCode(tmp_path) as code:
        labels = read_labels(tiny_recipe.recipe(), code)
    assert labels == {"scores": ("left", "right")}
    assert text_of(labels["scores"]) == "left\nright\n"


@pytest.mark.parametrize("text", ["left\n", "left\nright\nmiddle\n", "left\n\nright\n", "left\n \n", ""])
def test_another_number_of_classes_is_refused(tmp_path: Path, text: str) -> None:
    tiny_recipe.write(tmp_path)
    (tmp_path / "labels.txt").write_text(text)
    with RecipeCode(tmp_path) as code, pytest.raises(ConfigurationError, match="expected 2, one per line"):
        read_labels(tiny_recipe.recipe(), code)


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    tiny_recipe.write(tmp_path)
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\n")
    with RecipeCode(tmp_path) as code:
        with pytest.raises(ConfigurationError, match=r"labels\.txt cannot be read as text"):
            read_labels(tiny_recipe.recipe(), code)
        (tmp_path / "labels.txt").unlink()
        with pytest.raises(ConfigurationError, match=r"labels\.txt cannot be read as text"):
            read_labels(tiny_recipe.recipe(), code)
