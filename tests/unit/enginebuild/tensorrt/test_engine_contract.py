"""The whole path through TensorRT, on the real bindings' classes and signatures; nothing of it has met a GPU here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import enginebuild
import numpy as np
import onnx
import pytest
from enginebuild.pipeline import BuildResult, Order, build
from enginebuild.recipe.engine import Engine as Options
from enginebuild.targets.choice import TargetMaker, TargetName
from enginebuild.targets.tensorrt.engine import Engine
from enginebuild.targets.tensorrt.engine_builder import EngineBuilder
from enginebuild.targets.tensorrt.gpu import Gpu
from enginebuild.targets.tensorrt.profiles import Profile
from enginebuild.targets.tensorrt.target import TensorRtTarget

from services.core.errors import BuildFailed, ConfigurationError
from tests.fakes import tiny_recipe
from tests.fakes.onnx_tensorrt import H200, OnnxTensorRt
from tests.fakes.tensorrt_bindings import VARIABLE, VERSIONS, load_bindings

PROFILE = Profile((1, 4), (8, 4), (16, 4))
BOTH = {"left": PROFILE, "right": PROFILE}
CREATED = "2026-11-28T10:00:00+00:00"
ALL = ["int8", "fp16", "bf16", "fp32"]


@pytest.fixture(scope="module")
def real() -> Any:
    return load_bindings()


@pytest.fixture
def fake(real: Any) -> OnnxTensorRt:
    return OnnxTensorRt(real)


@pytest.fixture(autouse=True)
def _caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def build_recipe(tmp_path: Path, fake: OnnxTensorRt, gpu: Gpu = H200, **changes: Any) -> tuple[BuildResult, list[str]]:
    """Build the tiny recipe for TensorRT, with a machine in place of the one that is not here."""
    machine = fake.machine(gpu)

    def find(name: TargetName) -> TargetMaker:
        assert name == "tensorrt"
        return lambda recipe, code, exported, samples, say: TensorRtTarget(
            machine=machine, recipe=recipe, code=code, exported=exported, samples=samples, say=say
        )

    folder, said = tmp_path / "recipe", list[str]()
    if not folder.exists():
        tiny_recipe.write(folder)
    variants = changes.setdefault("variants", ALL)
    slow = dict.fromkeys(variants, 0.0)
    changed = {"gate": {"confidence": None, "metrics": {"accuracy": {"min": 0.9}}, "min_speedup": slow}, **changes}
    order = Order(tmp_path / "repository", CREATED, target="tensorrt")
    return build(tiny_recipe.recipe(**changed), folder, order, said.append, find), said


def graph(tmp_path: Path) -> Path:
    """Write a graph of two inputs."""
    values = [onnx.helper.make_tensor_value_info(name, 1, ["batch", 4]) for name in ("left", "right", "sum")]
    node = onnx.helper.make_node("Add", ["left", "right"], ["sum"], name="add")
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "sums", values[:2], values[2:]), opset_imports=[onnx.helper.make_opsetid("", 20)]
    )
    model.ir_version = 10
    onnx.save_model(model, str(tmp_path / "sums.onnx"))
    return tmp_path / "sums.onnx"


def test_every_precision_goes_through_the_gate_as_an_engine(tmp_path: Path, fake: OnnxTensorRt, real: Any) -> None:
    result, said = build_recipe(tmp_path, fake)
    assert [(one.name, one.objections) for one in result.candidates] == [(name, ()) for name in ALL]
    assert result.published is not None
    manifest, folder = result.published.manifest, result.published.path
    files = {"model.plan", "manifest.json", "evaluation.npz", "warmup.npz", "config.pbtxt"}
    assert {file.name for file in folder.iterdir()} == files
    assert (manifest.target.runtime, manifest.target.version) == ("tensorrt", real.__version__)
    assert (manifest.target.device, manifest.target.compute_capability) == ("NVIDIA H200", "9.0")
    assert manifest.target.profiles == dict.fromkeys(("left", "right"), ((1, 4), (8, 4), (16, 4)))
    assert manifest.speed.provider == "TensorRT"
    config = (folder.parent / "config.pbtxt").read_text()
    assert 'backend: "tensorrt"' in config
    assert "KIND_GPU" in config
    engine = manifest.engine
    assert engine is not None
    assert engine.rebuild is not None
    assert (engine.rebuild.builds, engine.rebuild.identical, engine.rebuild.max_difference) == (2, 1, 0.0)
    assert engine.agreement.keys() == {"scores", "difference"}
    assert engine.layers[0].outputs == ("fp16",)
    assert engine.layers[0].milliseconds == 0.25
    assert any("again (2 of 2)" in line for line in said)


def test_each_engine_is_built_from_a_graph_of_its_precision(tmp_path: Path, fake: OnnxTensorRt) -> None:
    result, _ = build_recipe(tmp_path, fake)
    types = fake.weights
    assert "FLOAT16" in types["fp16"]
    assert "BFLOAT16" in types["bf16"]
    assert "INT8" in types["int8"]
    assert "UINT8" not in types["int8"]  # TensorRT has no unsigned activations
    assert "FLOAT" not in types["int8"]  # what is not INT8 is FP16
    assert "FLOAT16" not in types["fp32"] | types["bf16"]
    calibration = next(one.made.calibration for one in result.candidates if one.name == "int8" and one.made)
    assert calibration is not None
    assert (calibration.quantized, calibration.rest, calibration.beyond_fp16) == (1, "fp16", ())


def test_what_is_not_int8_is_fp32_where_the_recipe_says_so(tmp_path: Path, fake: OnnxTensorRt) -> None:
    result, _ = build_recipe(tmp_path, fake, variants=["int8"], engine={"int8_rest": "fp32", "builds": 1})
    assert "FLOAT16" not in fake.weights["int8"]
    assert result.published is not None
    calibration = result.published.manifest.calibration
    assert calibration is not None
    assert calibration.rest == "fp32"


def test_weights_beyond_fp16_stay_in_fp32_and_are_told(tmp_path: Path, fake: OnnxTensorRt) -> None:
    folder = tmp_path / "recipe"
    tiny_recipe.write(folder)
    train = (folder / "train.py").read_text()
    (folder / "train.py").write_text(train.replace("weight[1, 4:] = 1", "weight[1, 4:] = 1e5"))
    result, said = build_recipe(tmp_path, fake, variants=["int8"])
    assert any("beyond FP16 and kept in FP32: " in line for line in said)
    assert result.published is not None
    manifest = result.published.manifest
    assert manifest.calibration is not None
    assert manifest.calibration.beyond_fp16
    assert manifest.fidelity.non_finite == 0
    assert {"FLOAT", "INT8"} <= fake.weights["int8"]


def test_the_builder_is_told_what_the_recipe_says(tmp_path: Path, fake: OnnxTensorRt, real: Any) -> None:
    options = Options(level=5, workspace_mib=64, hardware_compatible=True, version_compatible=True)
    cache = tmp_path / "cache" / "x.timing"
    machine = fake.machine()
    builder = EngineBuilder(fake.trt, options, machine.log, lambda _: None)
    assert builder.build(graph(tmp_path), BOTH, cache)
    assert fake.settings("IBuilderConfig.builder_optimization_level") == [5]
    assert fake.settings("IBuilderConfig.hardware_compatibility_level") == [real.HardwareCompatibilityLevel.AMPERE_PLUS]
    assert fake.settings("IBuilderConfig.profiling_verbosity") == [real.ProfilingVerbosity.DETAILED]
    assert fake.calls("IBuilderConfig.set_flag") == [{"flag": real.BuilderFlag.VERSION_COMPATIBLE}]
    assert fake.calls("IBuilderConfig.clear_flag") == [{"flag": real.BuilderFlag.TF32}]
    assert fake.calls("IBuilderConfig.set_memory_pool_limit") == [
        {"pool": real.MemoryPoolType.WORKSPACE, "pool_size": 64 << 20}
    ]
    assert fake.calls("IOptimizationProfile.set_shape")[0] == {
        "input": "left",
        "min": (1, 4),
        "opt": (8, 4),
        "max": (16, 4),
    }
    strongly = 1 << int(real.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert fake.calls("Builder.create_network") == [{"flags": strongly if real.__version__.startswith("10.") else 0}]
    assert cache.read_bytes() == b"timings"


def test_without_options_nothing_is_bounded_or_made_compatible(tmp_path: Path, fake: OnnxTensorRt) -> None:
    machine = fake.machine()
    EngineBuilder(fake.trt, Options(), machine.log, lambda _: None).build(graph(tmp_path), BOTH, None)
    assert not fake.calls("IBuilderConfig.set_flag")
    assert not fake.calls("IBuilderConfig.set_memory_pool_limit")
    assert not fake.settings("IBuilderConfig.hardware_compatibility_level")


@pytest.mark.parametrize(("known", "said"), [(b"", False), (b"timings", False), (b"of another GPU", True)])
def test_a_timing_cache_of_something_else_is_written_anew(
    tmp_path: Path, fake: OnnxTensorRt, known: bytes, said: bool
) -> None:
    cache, words = tmp_path / "x.timing", list[str]()
    cache.write_bytes(known)
    EngineBuilder(fake.trt, Options(), fake.machine().log, words.append).build(graph(tmp_path), BOTH, cache)
    assert cache.read_bytes() == b"timings"
    assert any("timing cache" in word for word in words) == said


def test_an_operator_that_tensorrt_lacks_is_named_and_nothing_is_published(tmp_path: Path, fake: OnnxTensorRt) -> None:
    fake.refused = "Concat"
    with pytest.raises(BuildFailed, match=r"TensorRT cannot read fp32\.onnx: node 0 \(Concat\): no importer"):
        build_recipe(tmp_path, fake)
    assert not (tmp_path / "repository" / "sums").exists()


def test_a_graph_without_an_implementation_is_refused_with_tensorrts_words(
    tmp_path: Path, fake: OnnxTensorRt, real: Any
) -> None:
    fake.unbuildable = True
    machine = fake.machine()
    machine.log.logger.log(real.ILogger.Severity.ERROR, "no implementation for node add")
    machine.log.logger.log(real.ILogger.Severity.INFO, "hello")
    with pytest.raises(BuildFailed, match=r"builds no engine of sums\.onnx: no implementation for node add$"):
        EngineBuilder(fake.trt, Options(), machine.log, lambda _: None).build(graph(tmp_path), BOTH, None)


def test_an_engine_that_computes_something_else_is_refused(tmp_path: Path, fake: OnnxTensorRt) -> None:
    fake.error = 0.03  # FP16 and FP32 must be closer, BF16 and INT8 need not
    result, _ = build_recipe(tmp_path, fake)
    refused = {one.name: one.objections for one in result.candidates if one.objections}
    assert refused.keys() == {"fp16", "fp32"}
    assert "is not what the same graph computes in ONNX Runtime" in refused["fp32"][0]


def test_how_far_builds_differ_is_on_record(tmp_path: Path, fake: OnnxTensorRt) -> None:
    fake.noise = 1e-4
    result, _ = build_recipe(tmp_path, fake, engine={"builds": 3}, variants=["fp16"])
    made = result.candidates[0].made
    assert made is not None
    assert made.engine is not None
    assert made.engine.rebuild is not None
    assert made.engine.rebuild.builds == 3
    assert 1e-4 < made.engine.rebuild.max_difference < 1e-3


@pytest.mark.parametrize(
    ("gpu", "lacks"), [(Gpu("Tesla T4", 7, 5), {"bf16"}), (Gpu("Tesla P100", 6, 0), {"bf16", "int8"})]
)
def test_a_gpu_without_a_precision_says_so(tmp_path: Path, fake: OnnxTensorRt, gpu: Gpu, lacks: set[str]) -> None:
    result, _ = build_recipe(tmp_path, fake, gpu)
    assert {one.name for one in result.candidates if one.objections} == lacks


def test_what_is_for_cpus_only_is_refused(tmp_path: Path, fake: OnnxTensorRt) -> None:
    gate = {"metrics": {"accuracy": {"min": 0.9}}}
    result, _ = build_recipe(tmp_path, fake, variants=["int8_dynamic"], gate=gate)
    assert result.published is None
    assert result.candidates[0].objections == (
        "int8_dynamic is for ONNX Runtime on a CPU; TensorRT takes int8, with calibration",
    )


def test_a_model_that_is_published_for_another_backend_is_left_alone(tmp_path: Path, fake: OnnxTensorRt) -> None:
    folder = tmp_path / "recipe"
    tiny_recipe.write(folder)
    build(tiny_recipe.recipe(), folder, Order(tmp_path / "repository", CREATED), lambda _: None)
    with pytest.raises(Exception, match="published for backend 'onnxruntime'"):
        build_recipe(tmp_path, fake)


def test_a_dimension_of_any_size_needs_bounds(tmp_path: Path, fake: OnnxTensorRt) -> None:
    inputs = [{"name": name, "datatype": "FP32", "dims": [-1]} for name in ("left", "right")]
    with pytest.raises(ConfigurationError, match=r"add engine\.profiles\.left with min, opt and max"):
        build_recipe(tmp_path, fake, inputs=inputs)


def test_an_engine_refuses_shapes_outside_its_profile(tmp_path: Path, fake: OnnxTensorRt) -> None:
    machine = fake.machine()
    plan = EngineBuilder(fake.trt, Options(), machine.log, lambda _: None).build(graph(tmp_path), BOTH, None)
    engine = Engine(fake.trt, plan, "sums.plan", machine.device, machine.log)
    inputs = {name: np.arange(80, dtype=np.float32).reshape(20, 4) for name in BOTH}
    np.testing.assert_array_equal(engine.run_all(inputs, 16)["sum"], 2 * inputs["left"])
    with pytest.raises(BuildFailed, match=r"sums\.plan does not take \[20, 4\] for 'left'"):
        engine.run(inputs)


def test_a_damaged_plan_is_refused(fake: OnnxTensorRt) -> None:
    machine = fake.machine()
    with pytest.raises(BuildFailed, match=r"TensorRT cannot load model\.plan"):
        Engine(fake.trt, b"\x80garbage", "model.plan", machine.device, machine.log)


def here(version: str, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run these tests in a process of their own."""
    environment = {**os.environ, VARIABLE: version, **({"PYTHONPATH": str(path)} if path else {})}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)


# What is wrong, in which file, what stands there, what is put in its place; and the test that must fail.
MISTAKES = {
    "a wrong attribute": ("engine_builder.py", "builder_optimization_level", "builder_optimisation_level", "is_told"),
    "a wrong argument": ("engine_builder.py", "ignore_mismatch=False", "ignore_mismatches=False", "is_told"),
    "a wrong enum": ("engine_builder.py", "BuilderFlag.TF32", "BuilderFlag.FP32", "is_told"),
    "a string for a number": ("engine.py", "[name].address)", "[name].address.__repr__())", "refuses_shapes"),
}


@pytest.mark.skipif(VARIABLE in os.environ, reason="is inside such a process")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_makes_these_tests_fail(tmp_path: Path, mistake: str) -> None:
    file, right, wrong, test = MISTAKES[mistake]
    source = Path(enginebuild.__file__).parent
    shutil.copytree(source, tmp_path / "enginebuild", ignore=shutil.ignore_patterns("__pycache__"))
    changed = tmp_path / "enginebuild" / "targets" / "tensorrt" / file
    assert right in changed.read_text()
    changed.write_text(changed.read_text().replace(right, wrong))
    done = here(VERSIONS[-1], "-k", test, path=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "AttributeError" in done.stdout or "TypeError" in done.stdout


@pytest.mark.skipif(VARIABLE in os.environ, reason="is inside such a process")
def test_all_of_this_holds_for_the_older_tensorrt() -> None:
    done = here(VERSIONS[0])
    assert done.returncode == 0, done.stdout
