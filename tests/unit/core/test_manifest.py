"""The manifest is read as strictly as it is written."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import IntegrityError
from services.core.records import record
from services.core.records.batch_record import BatchEntry
from services.core.records.checkpoint_record import CheckpointEntry, RegistryEntry
from services.core.records.compression_record import CompressionEntry, NetworkRebuildEntry
from services.core.records.drift_record import DriftReference, SketchEntry
from services.core.records.engine_record import EngineEntry
from services.core.records.manifest import (
    CalibrationEntry,
    DataEntry,
    FidelityEntry,
    FileEntry,
    GateEntry,
    LayerEntry,
    Manifest,
    SpeedEntry,
    TargetEntry,
    TensorEntry,
    WarmupEntry,
    WorstCase,
)
from tests.fakes import releases

DIGEST = "ab" * 32
ACCURACY = dataclasses.replace(releases.ACCURACY, output="logits", value=0.99, low=0.97, high=0.995, samples=450)
REBUILD = NetworkRebuildEntry(builds=2, identical=0, differing=("conv.weight",), max_difference=0.001)
SKETCH = SketchEntry(edges=(0.0, 1.5), shares=(0.5, 0.3, 0.2), mean=0.7, deviation=0.2, count=900)


def manifest(**changes: Any) -> Manifest:
    whole = Manifest(
        schema_version=3,
        model="digits_cnn",
        version=2,
        variant="int8-mixed",
        precision="int8",
        target=TargetEntry("onnxruntime", "1.31.1", "a CPU", None, {"image": ((1, 8), (4, 8), (8, 8))}),
        engine=None,
        created="2026-11-20T10:00:00+00:00",
        files={"model.onnx": FileEntry(DIGEST, 1234), "evaluation.npz": FileEntry(DIGEST, 0)},
        config_sha256=DIGEST,
        recipe_sha256=DIGEST,
        commit=None,
        parent=1,
        seed=0,
        checkpoint=CheckpointEntry(
            "checkpoint.safetensors",
            DIGEST,
            308_074,
            RegistryEntry("http://127.0.0.1:5000", "digits", 4, "1f2e", "weights/checkpoint.safetensors"),
        ),
        evaluation=DataEntry("data.py:evaluation", 450, DIGEST),
        compression=CompressionEntry(("50% of the channels pruned",), "train.py:fine_tune", 77_018, 1, REBUILD),
        calibration=CalibrationEntry(
            "minmax", DataEntry("data.py:calibration", 256, DIGEST), 12, ("conv_3",), "fp16", ("mul_1",)
        ),
        metrics=(ACCURACY,),
        sensitivity=(LayerEntry("conv_3", "Conv", 0.2),),
        fidelity=FidelityEntry(0.998, {"logits": 0.25}, 0, {"logits": (45,) * 10}, (WorstCase(7, 0.3),)),
        batching=BatchEntry(128, 3, 32, {"logits": 0.125}, 0.01),
        speed=SpeedEntry("CPUExecutionProvider", 1, 32, 1.5, 21_333.0, 2.2, 2.0, 2.4, 15),
        size_bytes=1234,
        gate=GateEntry(passed=True, reasons=(), waiver=None),
        inputs=(TensorEntry("image", "FP32", (1, 8, 8), ()),),
        outputs=(TensorEntry("logits", "FP32", (10,), tuple("0123456789")),),
        warmup=WarmupEntry("evaluation.npz", 32, real=True),
        drift=DriftReference({"image": SKETCH}, {"logits": SKETCH}, {"logits": SKETCH}),
        libraries={"torch": "2.13.0"},
    )
    return dataclasses.replace(whole, **changes)


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(manifest().to_json())
    return found


def test_what_is_read_is_what_was_written() -> None:
    whole = manifest()
    assert Manifest.from_json(whole.to_json()) == whole
    assert Manifest.from_json(whole.to_json().encode()).to_json() == whole.to_json()


def every_place(tree: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for key, child in children for place in every_place(child, (*path, key)))]


def at(tree: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        tree = tree[part]
    return tree


UNORDERED = json.loads(json.dumps(document()["drift"]).replace("[0.0, 1.5]", "[1.5, 0.0]"))
# Mappings whose keys are names of the model's own, not fields.
FREE = {
    *[("files",), ("libraries",), ("fidelity", "max_abs_diff"), ("fidelity", "predictions"), ("target", "profiles")],
    ("batching", "max_abs_diff"),
    *[("drift", "inputs"), ("drift", "outputs"), ("drift", "confidence")],
}
RECORDS = [place for place in every_place(document()) if isinstance(at(document(), place), dict) and place not in FREE]


@pytest.mark.parametrize("place", RECORDS, ids=str)
def test_an_unknown_key_is_an_error_wherever_it_is(place: tuple[str | int, ...]) -> None:
    tree = document()
    at(tree, place)["accuracyy"] = 1
    with pytest.raises(IntegrityError, match="unknown key 'accuracyy'"):
        Manifest.from_json(json.dumps(tree))


@pytest.mark.parametrize("place", RECORDS, ids=str)
def test_a_missing_key_is_an_error_wherever_it_is(place: tuple[str | int, ...]) -> None:
    for key in at(document(), place):
        tree = document()
        del at(tree, place)[key]
        with pytest.raises(IntegrityError, match=f"key '{key}' is missing"):
            Manifest.from_json(json.dumps(tree))


@pytest.mark.parametrize("place", [place for place in every_place(document()) if place], ids=str)
def test_a_value_of_another_type_is_an_error_wherever_it_is(place: tuple[str | int, ...]) -> None:
    tree = document()
    parent, key = at(tree, place[:-1]), place[-1]
    parent[key] = {"of": "another type"} if not isinstance(parent[key], dict) else ["another", "type"]
    with pytest.raises(IntegrityError, match="expected"):
        Manifest.from_json(json.dumps(tree))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("[]", "expected an object, found list"),
        ("null", "expected an object, found null"),
        ('{"model": "a", "model": "b"}', "key 'model' is there twice"),
        ("[" * 100_000, "nested too deeply"),
        (manifest().to_json().replace("0.99,", "NaN,"), "NaN is not a number"),
        (manifest().to_json().replace('"version": 2', '"version": true'), "version: expected int, found bool"),
        (manifest().to_json().replace('"version": 2', '"version": 0'), "version 0 found"),
        (manifest().to_json().replace('"schema_version": 3', '"schema_version": 9'), "schema_version 9 found"),
        (manifest().to_json().replace("evaluation.npz", "../evaluation.npz"), "does not lie in the version's folder"),
        (manifest().to_json().replace("evaluation.npz", "/etc/passwd"), "does not lie in the version's folder"),
        (manifest().to_json().replace(DIGEST, "ab", 1), "64 hexadecimal digits"),
        (manifest().to_json().replace('"passed": true', '"passed": false'), "no waiver"),
        (json.dumps(document() | {"metrics": []}), "names no metric"),
        (json.dumps(document() | {"warmup": {"file": "other.npz", "samples": 1, "real": True}}), "not among its files"),
        (json.dumps(document() | {"drift": UNORDERED}), "boundaries in ascending order"),
    ],
    ids=range(16),
)
def test_a_damaged_manifest_is_refused_with_the_reason_and_the_file(text: str, words: str) -> None:
    with pytest.raises(IntegrityError, match=words) as caught:
        Manifest.from_json(text, "digits_cnn/2/manifest.json")
    assert caught.value.message.startswith("digits_cnn/2/manifest.json: ")


def test_a_manifest_cannot_carry_a_number_that_json_does_not_know() -> None:
    broken = dataclasses.replace(ACCURACY, value=float("nan"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        manifest(metrics=(broken,)).to_json()


@dataclasses.dataclass(frozen=True)
class Sample:
    words: tuple[str, ...]
    numbers: dict[str, float]
    maybe: int | None
    flag: bool


@given(
    st.builds(
        Sample,
        words=st.lists(st.text()).map(tuple),
        numbers=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
        maybe=st.none() | st.integers(),
        flag=st.booleans(),
    )
)
def test_any_record_survives_the_way_to_json_and_back(sample: Sample) -> None:
    assert record.from_json(record.to_json(sample), Sample) == sample


@pytest.mark.parametrize(
    "changes",
    [
        {"target": TargetEntry("tensorrt", "10.13.3.9", "NVIDIA H200", "9.0", {})},
        {"target": TargetEntry("onnxruntime", "1.31.1", "a CPU", "9.0", {})},
        {"engine": EngineEntry("0" * 64, 3, None, False, False, "the same graph", {}, None, ())},
    ],
    ids=["no engine", "a GPU for a CPU", "an engine for a CPU"],
)
def test_an_engine_and_its_gpu_go_with_tensorrt_alone(changes: dict[str, Any]) -> None:
    """Else a version could pass the check before a load because nothing of it is compared."""
    with pytest.raises(ValueError, match="go with tensorrt alone"):
        manifest(**changes)
