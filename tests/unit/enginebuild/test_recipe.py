"""A recipe says exactly what it means, or is refused with the place and the words."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from enginebuild.recipe.recipe import Recipe
from pydantic import ValidationError

from services.cli.yamlfile import load_yaml
from services.core.errors import ConfigurationError
from tests.fakes import tiny_recipe

PINNED = {"model": "nets", "version": 3, "path": "weights/model.safetensors", "sha256": "ab" * 32}
RECIPES = Path(__file__).parents[3] / "build" / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/recipe.yaml")), ids=lambda path: path.parent.name)
def test_every_recipe_of_this_project_is_valid_and_names_files_that_exist(path: Path) -> None:
    recipe = load_yaml(path, Recipe)
    named = [recipe.network.factory, recipe.data.evaluation, recipe.data.calibration]
    named += [recipe.checkpoint.trained_by] if recipe.checkpoint else []
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
        (("variant",), "variants"),
        (("checkpoint", "fil"), "file"),
        (("checkpoint", "mlflw"), "mlflow"),
        (("network", "factori"), "factory"),
        (("inputs", 1, "dim"), "dims"),
        (("outputs", 0, "label"), "labels"),
        (("data", "evaluate"), "evaluation"),
        (("gate", "min_speed_up"), "min_speedup"),
        (("gate", "metrics", "accuracy", "max_los"), "max_loss"),
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
        (("network", "exported"), "network.pt2", "expected either factory or exported"),
        (("network",), {}, "expected either factory or exported"),
        (("network",), {"exported": "n.pt2", "kwargs": {"a": 1}}, "an exported file takes none"),
        (("network", "mlflow"), PINNED, "expected either factory or exported"),
        (("network",), {"mlflow": {**PINNED, "sha256": None}}, r"mlflow\.sha256 is missing"),
        (("network",), {"mlflow": PINNED}, "an exported file has its weights in it"),
        (("checkpoint",), {}, "expected either file or mlflow"),
        (("checkpoint", "mlflow"), PINNED, "expected either file or mlflow"),
        (("checkpoint",), {"mlflow": PINNED, "trained_by": "train.py"}, "is trained already"),
        (("checkpoint",), {"mlflow": {**PINNED, "alias": "production"}}, "expected either version or alias"),
        (("checkpoint",), {"mlflow": {**PINNED, "version": None}}, "expected either version or alias"),
        (("checkpoint",), {"mlflow": {**PINNED, "version": 0}}, "greater than or equal to 1"),
        (("checkpoint",), {"mlflow": {**PINNED, "model": "a' or name='b"}}, "String should match"),
        (("checkpoint",), {"mlflow": {**PINNED, "path": "../model.safetensors"}}, "among the version's artifacts"),
        (("checkpoint",), {"mlflow": {**PINNED, "path": "/etc/passwd"}}, "among the version's artifacts"),
        (("checkpoint",), {"mlflow": {**PINNED, "path": "data/model.pkl"}}, "is a pickle.*log the weights alone"),
        (("checkpoint",), {"mlflow": {**PINNED, "sha256": "ab"}}, "String should match"),
        (("checkpoint",), {"mlflow": {**PINNED, "server": "http://someone:secret@host"}}, "String should match"),
        (("checkpoint",), {"mlflow": {**PINNED, "server": "sqlite:///mlflow.db"}}, "String should match"),
        (("network",), {"exported": "n.pt2"}, "an exported file has its weights in it"),
        (("checkpoint",), None, "a factory needs a checkpoint"),
        (("network", "factory"), "model.py", "expected 'file.py:function'"),
        (("network", "factory"), "model:", "'package.module:function' of an installed package"),
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
        (("metrics",), [], "at least 1 item"),
        (("metrics",), [{"metric": "acuracy"}], "does not match any of the expected tags"),
        (("metrics",), [{"metric": "accuracy"}] * 2, "metric 'accuracy' is used twice"),
        (("metrics", 0, "output"), "absent", "no output 'absent'; there are scores, difference"),
        (("metrics",), [{"metric": "custom", "function": "data.py:f"}], "Field required"),
        (("metrics",), [{"metric": "reconstruction_error"}], "which input"),
        (("metrics",), [{"metric": "reconstruction_error", "input": "absent"}], "no input 'absent'"),
        (("variants",), [], "at least 1 item"),
        (("variants",), ["fp8"], "Input should be"),
        (("variants",), ["fp32", "fp32"], "variant 'fp32' is used twice"),
        (("variants",), [{"name": "a", "precision": "fp32"}], "has no bound for a"),
        (("gate", "metrics"), {}, "at least 1 item"),
        (("gate", "metrics"), {"f1": {"min": 0.5}}, "gate.metrics.f1: no such metric; there are accuracy"),
        (("gate", "metrics", "accuracy"), {}, "bounds nothing"),
        (("gate", "metrics", "accuracy"), {"max_loss": {"fp32": 0}}, "has no bound for int8"),
        (("gate", "metrics", "accuracy"), {"max_loss": {"fp32": 0, "int8": 0, "fp8": 0}}, "'fp8' is no variant"),
        (("gate", "metrics", "accuracy"), {"max_loss": -0.1}, "greater than or equal to 0"),
        (("gate", "confidence"), 0.4, "greater than 0.5"),
        (("gate", "min_speedup"), {"int4": 1}, "'int4' is no variant"),
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


def test_a_metric_must_say_its_output_where_several_could_be_meant() -> None:
    document = changed("metrics", value=[{"metric": "accuracy"}])
    assert Recipe.model_validate(document).output_of(Recipe.model_validate(document).metrics[0]).name == "scores"
    document["outputs"][1]["labels"] = "labels.txt"
    with pytest.raises(ValidationError, match="which output"):
        Recipe.model_validate(document)


def test_a_variant_is_named_by_its_precision_or_has_a_name() -> None:
    variants = ["fp32", {"name": "all-int8", "precision": "int8"}]
    recipe = tiny_recipe.recipe(variants=variants, gate={"metrics": {"accuracy": {"max_loss": 0.1}}})
    assert [(variant.name, variant.precision) for variant in recipe.variants] == [
        ("fp32", "fp32"),
        ("all-int8", "int8"),
    ]
    mixed = recipe.variants[1].mixed()
    assert (mixed.name, mixed.rules, mixed.mixed().rules) == ("all-int8-mixed", "all-int8", "all-int8")


def test_speed_is_judged_at_the_largest_batch_that_triton_aims_for() -> None:
    assert tiny_recipe.recipe().serving.measured_batch_size == 8
    assert tiny_recipe.recipe(serving={"max_batch_size": 16}).serving.measured_batch_size == 16
