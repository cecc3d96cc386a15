"""A recipe says exactly what it means, or is refused with the place and the words."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from enginebuild.recipe import Recipe
from pydantic import ValidationError

from services.cli.yamlfile import load_yaml
from services.core.errors import ConfigurationError
from tests.fakes import tiny_recipe

RECIPES = Path(__file__).parents[3] / "build" / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/recipe.yaml")), ids=lambda path: path.parent.name)
def test_every_recipe_of_this_project_is_valid_and_names_files_that_exist(path: Path) -> None:
    recipe = load_yaml(path, Recipe)
    named = [recipe.network.factory, recipe.data.evaluation, recipe.data.calibration, recipe.checkpoint.trained_by]
    assert all((path.parent / name.split(":")[0]).is_file() for name in named if name)


def changed(*place: str | int, value: Any) -> dict[str, Any]:
    document: dict[str, Any] = tiny_recipe.document()
    parent: Any = document
    for part in place[:-1]:
        parent = parent[part]
    parent[place[-1]] = value
    return document


@pytest.mark.parametrize(
    ("place", "nearest"),
    [
        (("treshold",), "thresholds"),
        (("checkpoint", "fil"), "file"),
        (("network", "factori"), "factory"),
        (("inputs", 1, "dim"), "dims"),
        (("outputs", 0, "label"), "labels"),
        (("data", "evaluate"), "evaluation"),
        (("thresholds", "min_acuracy"), "min_accuracy"),
        (("serving", "max_batchsize"), "max_batch_size"),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_the_nearest_valid_key(
    tmp_path: Path, place: tuple[str | int, ...], nearest: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(changed(*place, value=1), sort_keys=False))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if text.strip() == f"{place[-1]}: 1")
    with pytest.raises(ConfigurationError) as caught:
        load_yaml(path, Recipe)
    assert f"{path}:{line}: unknown key '{'.'.join(map(str, place))}'; did you mean '{nearest}'?" in str(caught.value)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("name",), "../escape", "String should match"),
        (("name",), ".hidden", "String should match"),
        (("seed",), -1, "greater than or equal to 0"),
        (("checkpoint", "file"), "/etc/passwd", "inside it"),
        (("checkpoint", "file"), "../other/checkpoint.pt", "inside it"),
        (("checkpoint", "trained_by"), "a/../../train.py", "inside it"),
        (("checkpoint", "file"), "..\\checkpoint.pt", "inside it"),
        (("network", "factory"), "model.py", "expected 'file.py:function'"),
        (("network", "factory"), "model:function", "expected 'file.py:function'"),
        (("network", "factory"), "../model.py:function", "inside it"),
        (("inputs",), [], "at least 1 item"),
        (("inputs", 0, "dims"), [], "at least 1 item"),
        (("inputs", 0, "dims"), [0], "a dimension is 0"),
        (("inputs", 0, "dims"), [-2], "greater than or equal to -1"),
        (("inputs", 0, "datatype"), "FLOAT", "Input should be"),
        (("inputs", 0, "datatype"), "BYTES", "Input should be"),
        (("inputs", 0, "name"), "labels", "taken by the labels"),
        (("inputs", 0, "name"), "right", "'right' is used twice"),
        (("inputs", 0, "name"), 'a" }', "String should match"),
        (("outputs", 0, "dims"), [2, 2], "one dimension"),
        (("outputs", 0, "dims"), [-1], "one dimension"),
        (("outputs", 1, "labels"), "labels.txt", "2 outputs have labels"),
        (("outputs", 0, "labels"), None, "0 outputs have labels"),
        (("precisions",), [], "at least 1 item"),
        (("precisions",), ["fp8"], "Input should be"),
        (("precisions",), ["fp32", "fp32"], "names one twice"),
        (("thresholds", "max_accuracy_loss_points"), {"fp32": 0}, "no bound for int8"),
        (("thresholds", "min_accuracy"), 98, "less than or equal to 1"),
        (("data", "calibration"), None, "int8 needs data.calibration"),
        (("serving", "preferred_batch_sizes"), [32], "batch size 32 is over max_batch_size 16"),
        (("serving", "warmup_batch_sizes"), [17], "batch size 17 is over max_batch_size 16"),
        (("serving", "max_batch_size"), 0, "greater than or equal to 1"),
        (("serving", "queue"), {"default_timeout_microseconds": 0}, "greater than or equal to 1"),
        (("serving", "queue"), {"max_queue_size": 0}, "greater than or equal to 1"),
    ],
)
def test_a_value_that_cannot_work_is_refused_before_anything_is_built(
    place: tuple[str | int, ...], value: Any, words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        Recipe.model_validate(changed(*place, value=value))


def test_several_outputs_may_have_labels_when_the_recipe_says_what_is_right() -> None:
    document = changed("outputs", 1, "labels", value="labels.txt")
    document["data"]["correct"] = "data.py:correct"
    assert len(Recipe.model_validate(document).class_outputs) == 2


def test_speed_is_judged_at_the_largest_batch_that_triton_aims_for() -> None:
    assert tiny_recipe.recipe().serving.measured_batch_size == 8
    assert tiny_recipe.recipe(serving={"max_batch_size": 16}).serving.measured_batch_size == 16


def test_int8_must_not_be_slower_than_fp32_unless_the_recipe_says_otherwise() -> None:
    thresholds = {"min_accuracy": 0.5, "max_accuracy_loss_points": {"int8": 1, "fp32": 1}}
    assert tiny_recipe.recipe(thresholds=thresholds).thresholds.min_speedup == {"int8": 1.0}
