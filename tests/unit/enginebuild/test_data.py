"""Data that does not fit the recipe is refused before anything is trained on or judged by it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from enginebuild.data import Dataset, load_calibration, load_evaluation
from enginebuild.datatypes import Arrays
from enginebuild.recipecode import RecipeCode

from services.core.errors import ConfigurationError
from tests.fakes import tiny_recipe

GOOD = "inputs = {'left': np.ones((3, 4), 'f4'), 'right': np.ones((3, 4), 'f4')}\nlabels = np.array([0, 1, 1])\n"


def load(folder: Path, code_text: str, **changes: Any) -> Dataset:
    tiny_recipe.write(folder)
    body = "".join(f"    {line}\n" for line in (GOOD + code_text).splitlines())
    (folder / "data.py").write_text(f"import numpy as np\ndef evaluation():\n{body}    return inputs, labels\n")
    with RecipeCode(folder) as code:
        return load_evaluation(tiny_recipe.recipe(**changes), code)


def test_inputs_come_in_the_recipes_order(tmp_path: Path) -> None:
    data = load(tmp_path, "inputs = dict(reversed(inputs.items()))")
    assert list(data.inputs) == ["left", "right"]
    assert data.samples == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("del inputs['left']", "gives inputs right; expected a mapping with left, right"),
        ("inputs['up'] = inputs['left']", "gives inputs left, right, up; expected"),
        ("inputs = inputs['left']", "gives a ndarray; expected a mapping"),
        ("inputs['left'] = inputs['left'].astype('f8')", "'left' is FP64, the recipe says FP32"),
        ("inputs['left'] = np.array(['a'] * 3)", "'left' is str32, the recipe says FP32"),
        ("inputs['left'] = np.ones((3, 5), 'f4')", r"'left' is \[3, 5\], the recipe says \[samples, 4\]"),
        ("inputs['left'] = np.ones((3, 4, 1), 'f4')", r"'left' is \[3, 4, 1\]"),
        ("inputs['left'] = np.ones((2, 4), 'f4')", "numbers of samples differ between inputs"),
        ("inputs = {k: v[:0] for k, v in inputs.items()}; labels = labels[:0]", "gives no sample"),
        ("inputs['left'][1, 2] = np.nan", "'left' holds a NaN or an infinity"),
        ("labels = labels[:2]", r"labels are int64 \[2\], expected one for each of 3 samples"),
        ("labels = np.array(1)", r"labels are int64 \[\]"),
        ("labels = np.array([{}, {}, {}])", "labels are object"),
        ("labels = None", "gives no labels .None., and a metric of the recipe needs them"),
        ("return inputs", r"returns a dict, expected \(inputs by name, labels\)"),
        ("return inputs, labels, 1", "returns a tuple, expected"),
        ("raise FileNotFoundError('no digits.csv')", "failed: FileNotFoundError: no digits.csv"),
    ],
)
def test_data_that_does_not_fit_is_refused_with_what_was_found(tmp_path: Path, change: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load(tmp_path, change)


def test_labels_of_any_shape_will_do_and_none_where_no_metric_needs_them(tmp_path: Path) -> None:
    assert load(tmp_path, "labels = np.eye(3)").samples == 3
    closeness = [{"metric": "cosine", "output": "difference"}]
    gate = {"metrics": {"cosine": {"min": 0.9}}}
    assert load(tmp_path, "labels = None", metrics=closeness, gate=gate).labels is None


def test_a_dimension_of_any_size_takes_any_size(tmp_path: Path) -> None:
    inputs = [{"name": name, "datatype": "FP32", "dims": [-1]} for name in ("left", "right")]
    assert load(tmp_path, "inputs['left'] = np.ones((3, 9), 'f4')", inputs=inputs).inputs["left"].shape == (3, 9)


def test_int8_without_calibration_data_is_refused(tmp_path: Path) -> None:
    tiny_recipe.write(tmp_path)
    recipe = tiny_recipe.recipe(data={"evaluation": "data.py:evaluation"}, **tiny_recipe.FP32_ONLY)
    with RecipeCode(tmp_path) as code, pytest.raises(ConfigurationError, match=r"needs data\.calibration"):
        load_calibration(recipe, code)


def test_calibration_takes_as_many_samples_as_the_recipe_says(tmp_path: Path) -> None:
    tiny_recipe.write(tmp_path)
    with RecipeCode(tmp_path) as code:
        assert load_calibration(tiny_recipe.recipe(), code).samples == 32
        assert load_calibration(tiny_recipe.recipe(quantization={"samples": 7}), code).samples == 7


def test_the_digest_sees_every_value_name_and_shape() -> None:
    base: Arrays = {"a": np.arange(4, dtype=np.float32), "b": np.zeros(4, dtype=np.int64)}
    labels = np.array([0, 1, 0, 1])
    others = [
        Dataset("s", {**base, "a": np.array([0, 1, 2, 4], dtype=np.float32)}, labels),
        Dataset("s", {"a": base["a"], "c": base["b"]}, labels),
        Dataset("s", {**base, "a": base["a"].reshape(4, 1)}, labels),
        Dataset("s", base, labels[::-1]),
        Dataset("s", base),
    ]
    digests = {data.sha256 for data in [Dataset("s", base, labels), *others]}
    assert len(digests) == 6
    assert Dataset("elsewhere", dict(reversed(base.items())), labels).sha256 == Dataset("s", base, labels).sha256


def test_saved_data_is_read_back_under_the_names_of_the_inputs(tmp_path: Path) -> None:
    data = Dataset("s", {"image": np.ones((2, 3), dtype=np.float32)}, np.array([1, 0]))
    data.save(tmp_path / "evaluation.npz")
    with np.load(tmp_path / "evaluation.npz", allow_pickle=False) as saved:
        assert set(saved) == {"image", "labels"}
        assert np.array_equal(saved["image"], data.inputs["image"])
        assert saved["labels"].tolist() == [1, 0]


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    data = Dataset("s", {"image": np.ones((2, 3), dtype=np.float32)}, np.array([1, 0]))
    for name in ("a.npz", "b.npz"):
        data.save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
