"""A build from end to end: what is refused, in which order, and what is then left behind."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from enginebuild.pipeline import BuildResult, Order, build
from enginebuild.publish import versions
from enginebuild.runtime import OnnxModel

from services.core.errors import BuildFailed, ConfigurationError, Conflict
from services.core.records.manifest import Manifest, WarmupEntry
from tests.fakes import tiny_recipe
from tests.fakes.exported_network import export

CREATED = "2026-11-20T10:00:00+00:00"


def run(tmp_path: Path, order: dict[str, Any] | None = None, **changes: Any) -> tuple[BuildResult, list[str]]:
    folder = tmp_path / "recipe"
    if not folder.exists():
        tiny_recipe.write(folder)
    said: list[str] = []
    made = Order(tmp_path / "repository", CREATED, **(order or {}))
    return build(tiny_recipe.recipe(**changes), folder, made, said.append), said


def bounds(**changes: Any) -> dict[str, Any]:
    return {**tiny_recipe.document()["gate"], **changes}


def expect_nothing(tmp_path: Path) -> None:
    assert versions(tmp_path / "repository" / "sums") == []
    assert not (tmp_path / "repository" / ".staging").exists()


def test_the_preferred_precision_that_passes_is_published_with_everything_it_needs(tmp_path: Path) -> None:
    result, said = run(tmp_path)
    assert [candidate.name for candidate in result.candidates] == ["int8", "fp32"]
    assert result.published is not None
    manifest, path = result.published.manifest, result.published.path
    assert (manifest.precision, manifest.version, manifest.created) == ("int8", 1, CREATED)
    files = {"model.onnx", "evaluation.npz", "warmup.npz", "config.pbtxt", "manifest.json"}
    assert {file.name for file in path.iterdir()} == files
    assert Manifest.from_json((path / "manifest.json").read_bytes()) == manifest
    assert [spec.labels for spec in manifest.outputs] == [("left", "right"), ()]
    assert any("training" in line for line in said)


def test_recipe_and_repository_may_be_named_from_wherever_the_build_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_recipe.write(tmp_path / "recipe")
    monkeypatch.chdir(tmp_path)
    result = build(tiny_recipe.recipe(), Path("recipe"), Order(Path("repository"), CREATED), lambda _: None)
    assert result.published is not None
    assert (tmp_path / "repository" / "sums" / "1" / "model.onnx").is_file()
    assert (tmp_path / "recipe" / "checkpoint.safetensors").is_file()


def test_a_precision_that_is_not_faster_falls_back_to_the_next(tmp_path: Path) -> None:
    result, _ = run(tmp_path, gate=bounds(min_speedup={"int8": 1000}))
    assert result.published is not None
    assert result.published.manifest.precision == "fp32"
    (objection,) = result.candidates[0].objections
    assert objection.endswith("times as fast as FP32, 1000 demanded")


def test_a_named_precision_never_falls_back(tmp_path: Path) -> None:
    result, _ = run(tmp_path, {"precision": "int8"}, gate=bounds(min_speedup={"int8": 1000}))
    assert result.published is None
    expect_nothing(tmp_path)


def test_a_waiver_publishes_what_was_refused_and_is_written_down_only_then(tmp_path: Path) -> None:
    demanding = bounds(min_speedup={"int8": 1000})
    named, _ = run(tmp_path, {"precision": "int8", "waiver": "an emergency"}, gate=demanding)
    assert named.published is not None
    gate = named.published.manifest.gate
    assert (gate.passed, gate.waiver) == (False, "an emergency")
    assert gate.reasons == named.candidates[0].objections
    passing, _ = run(tmp_path, {"precision": "fp32", "waiver": "an emergency"})
    assert passing.published is not None
    assert dataclasses.astuple(passing.published.manifest.gate) == (True, (), None)


@pytest.mark.parametrize(
    ("order", "changes", "words"),
    [
        ({"precision": "int8"}, tiny_recipe.FP32_ONLY, "--precision int8: the recipe of sums has fp32"),
        ({"variant": "int4"}, {}, "--variant int4: the recipe of sums has int8, fp32"),
        ({"checkpoint": Path("w.safetensors"), "retrain": True}, {}, "--checkpoint and --retrain exclude each other"),
        ({"waiver": "  "}, {}, "--waive-gate needs a reason"),
        ({"checkpoint": Path("/no/such/w.safetensors")}, {}, "/no/such/w.safetensors: cannot be read"),
        ({}, {"network": {"factory": "model.py:absent"}}, "has no function 'absent'"),
        ({}, {"network": {"factory": "model.py:sums", "kwargs": {"width": 9}}}, "does not fit the network"),
        ({}, {"data": {"evaluation": "absent.py:e", "calibration": "data.py:calibration"}}, "there is no such file"),
        ({}, {"data": {"evaluation": "data.py:evaluation", "calibration": "data.py:absent"}}, "no function 'absent'"),
    ],
    ids=range(9),
)
def test_a_mistake_is_told_and_publishes_nothing(
    tmp_path: Path, order: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        run(tmp_path, order, **changes)
    expect_nothing(tmp_path)


def test_missing_data_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    tiny_recipe.write(tmp_path / "recipe")
    (tmp_path / "recipe" / "data.py").write_text("def evaluation(): return open('/no/such/digits.csv')")
    with pytest.raises(ConfigurationError, match="FileNotFoundError"):
        run(tmp_path)
    assert not (tmp_path / "recipe" / "checkpoint.safetensors").exists()


def test_another_interface_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    run(tmp_path, {"precision": "fp32"})
    (tmp_path / "recipe" / "checkpoint.safetensors").unlink()
    outputs = [tiny_recipe.document()["outputs"][0]]
    with pytest.raises(Conflict, match="publish under a new model name"):
        run(tmp_path, {"precision": "fp32"}, outputs=outputs)
    assert not (tmp_path / "recipe" / "checkpoint.safetensors").exists()
    assert versions(tmp_path / "repository" / "sums") == [1]


def test_the_held_out_data_stays_at_home_where_the_recipe_says_so(tmp_path: Path) -> None:
    data = {"evaluation": "data.py:evaluation", "publish_evaluation": False}
    result, _ = run(tmp_path, data=data, **tiny_recipe.FP32_ONLY)
    assert result.published is not None
    assert set(result.published.manifest.files) == {"model.onnx", "warmup.npz", "config.pbtxt"}
    with np.load(result.published.path / "warmup.npz", allow_pickle=False) as warmup:
        assert not any(warmup[name].any() for name in ("input/left", "input/right"))


def test_a_version_is_warmed_with_held_out_samples_and_knows_its_answers_to_them(tmp_path: Path) -> None:
    result, _ = run(tmp_path, **tiny_recipe.FP32_ONLY)
    assert result.published is not None
    manifest, folder = result.published.manifest, result.published.path
    assert manifest.warmup == WarmupEntry("warmup.npz", 32, real=True)
    with np.load(folder / "warmup.npz", allow_pickle=False) as warmup, np.load(folder / "evaluation.npz") as data:
        held = {row.tobytes() for row in data["left"]}
        assert all(row.tobytes() in held for row in warmup["input/left"])
        inputs = {name.removeprefix("input/"): warmup[name] for name in warmup if name.startswith("input/")}
        answers = OnnxModel(folder / "model.onnx", 1).run(inputs)
        for name, answer in answers.items():
            np.testing.assert_allclose(warmup[f"output/{name}"], answer, rtol=1e-5, atol=1e-6)
        assert set(answers) == {spec.name for spec in manifest.outputs}


def test_a_recipe_lets_out_as_many_samples_for_the_warm_up_as_it_says(tmp_path: Path) -> None:
    data = {"evaluation": "data.py:evaluation", "publish_evaluation": False, "warmup_samples": 3}
    result, _ = run(tmp_path, data=data, **tiny_recipe.FP32_ONLY)
    assert result.published is not None
    assert result.published.manifest.warmup == WarmupEntry("warmup.npz", 3, real=True)


def test_a_repository_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "repository").write_text("a file")
    with pytest.raises(BuildFailed, match=r"repository.*nothing was published"):
        run(tmp_path)


def test_a_network_that_gives_no_numbers_is_refused_by_the_gate(tmp_path: Path) -> None:
    tiny_recipe.write(tmp_path / "recipe")
    model = tmp_path / "recipe" / "model.py"
    broken = model.read_text().replace("return {", "scores = torch.log(-1 - scores.abs())\n        return {")
    model.write_text(broken)
    result, _ = run(tmp_path, {"precision": "fp32"})
    assert result.published is None
    assert result.candidates[0].objections == ("every one of 64 held-out samples gives a NaN or an infinity",)


def test_int8_that_is_not_good_enough_keeps_its_worst_operators_in_fp32(tmp_path: Path) -> None:
    """The second layer cannot be quantised: one weight takes the range of all others in its column."""
    tiny_recipe.write(tmp_path / "recipe")
    folder = tmp_path / "recipe"
    model, train = (folder / "model.py").read_text(), (folder / "train.py").read_text()
    model = model.replace(
        "self.mix = nn.Linear(2 * width, 2, bias=False)",
        "self.mix = nn.Linear(2 * width, 2, bias=False)\n        self.last = nn.Linear(3, 2, bias=False)",
    ).replace(
        "scores = self.mix(torch.cat([left, right], dim=1))",
        "mixed = self.mix(torch.cat([left, right], dim=1))\n"
        "        scores = self.last(torch.cat([mixed, 500 + 0 * mixed[:, :1]], dim=1))",
    )
    train = train.replace(
        'network.load_state_dict({"mix.weight": weight})',
        "last = torch.tensor([[1.0, 0, 0.01], [0, 1.0, 0.01]])\n"
        'network.load_state_dict({"mix.weight": weight, "last.weight": last})',
    )
    (folder / "model.py").write_text(model)
    (folder / "train.py").write_text(train)
    result, said = run(tmp_path, gate=bounds(metrics={"accuracy": {"max_loss": {"int8": 0.05, "fp32": 0}}}))
    assert [candidate.name for candidate in result.candidates] == ["int8", "int8-mixed", "fp32"]
    refused, mixed, _ = result.candidates
    assert any("worse" in objection for objection in refused.objections)
    assert [layer.error for layer in refused.sensitivity] == sorted(
        (e.error for e in refused.sensitivity), reverse=True
    )
    assert mixed.made is not None
    assert mixed.made.calibration is not None
    assert mixed.made.calibration.kept[0] == refused.sensitivity[0].name
    assert any("int8-mixed keeps" in line for line in said)
    assert result.published is not None
    assert result.published.manifest.variant == "int8-mixed"


def test_a_variant_that_this_machine_cannot_run_is_refused_with_the_reason(tmp_path: Path) -> None:
    demanding = bounds(metrics={"accuracy": {"min": 0.9}}, min_speedup={})
    result, _ = run(tmp_path, variants=["bf16", "fp32"], gate=demanding)
    assert result.candidates[0].objections == (
        "ONNX Runtime has no BF16 kernels for a CPU; --target tensorrt has, on a GPU",
    )
    assert result.published is not None
    assert result.published.manifest.variant == "fp32"


def test_fp16_is_made_and_measured_like_any_other(tmp_path: Path) -> None:
    demanding = bounds(metrics={"accuracy": {"min": 0.9}}, min_speedup={"fp16": 0.0})
    result, _ = run(tmp_path, variants=["fp16"], gate=demanding)
    assert result.published is not None
    assert result.published.manifest.precision == "fp16"
    assert [spec.datatype for spec in result.published.manifest.inputs] == ["FP32", "FP32"]


def test_the_same_recipe_gives_the_same_model_byte_for_byte(tmp_path: Path) -> None:
    """Also after the checkpoint was trained again, in another folder."""
    digests = []
    for name in ("one", "two"):
        for variant in ("fp32", "int8"):
            result, _ = run(tmp_path / name, {"variant": variant})
            assert result.published is not None
            manifest = result.published.manifest
            digests.append((variant, manifest.files["model.onnx"].sha256, manifest.recipe_sha256))
    assert digests[:2] == digests[2:]
    result, _ = run(tmp_path / "two", {"variant": "int8"})
    assert result.published is not None
    assert result.published.manifest.parent == 2


def test_somebody_elses_exported_network_is_built_like_any_other(tmp_path: Path) -> None:
    export(tmp_path / "recipe")
    changes: dict[str, Any] = {"network": {"exported": "network.pt2"}, "checkpoint": None}
    loose = bounds(metrics={"accuracy": {"max_loss": {"int8": 1.0, "fp32": 0.0}}})
    result, _ = run(tmp_path, gate=loose, **changes)
    assert result.published is not None
    manifest = result.published.manifest
    assert (manifest.variant, manifest.checkpoint.file, manifest.checkpoint.parameters) == ("int8", "network.pt2", 16)
    for order in ({"retrain": True}, {"checkpoint": Path("w.safetensors")}):
        with pytest.raises(ConfigurationError, match=r"network\.pt2 has its weights in it"):
            run(tmp_path, order, **changes)
