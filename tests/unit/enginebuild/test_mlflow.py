"""What a URL says of a place in MLflow, and what MLflow is told of a version."""

from __future__ import annotations

import dataclasses

import pytest
from enginebuild.stores.mlflow import record
from enginebuild.stores.mlflow.place import MlflowPlace

from services.core.errors import ConfigurationError
from services.core.records.checkpoint_record import CheckpointEntry, RegistryEntry
from services.core.records.manifest import FileEntry, GateEntry, Manifest
from tests.fakes.releases import ACCURACY, manifest_of

HERE = {"MLFLOW_TRACKING_URI": "https://mlflow.example.org/base/", "MLFLOW_EXPERIMENT_NAME": "vision"}


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("mlflow+http://127.0.0.1:5000", MlflowPlace("http://127.0.0.1:5000")),
        ("mlflow+https://host/base/", MlflowPlace("https://host/base")),
        ("mlflow+https://host?name=my net", MlflowPlace("https://host", name="my net")),
        ("mlflow+https://host?alias=a-1&experiment=x", MlflowPlace("https://host", alias="a-1", experiment="x")),
    ],
)
def test_a_url_names_server_registered_model_alias_and_experiment(url: str, place: MlflowPlace) -> None:
    assert MlflowPlace.from_url(url, {}) == place


def test_the_environment_names_server_and_experiment_as_it_does_for_mlflow_itself() -> None:
    assert MlflowPlace.from_url("mlflow:?alias=a", HERE) == MlflowPlace(
        "https://mlflow.example.org/base", alias="a", experiment="vision"
    )


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mlflow:", "Set MLFLOW_TRACKING_URI"),
        ("mlflow://host", r"expected mlflow\+http"),
        ("mlflow:/path", r"expected mlflow\+http"),
        ("mlflow+sqlite:///mlflow.db", r"expected mlflow\+http"),
        ("mlflow+http://", "cannot be opened"),
        ("mlflow+http://host#name", "cannot be opened"),
        ("mlflow+http://someone:secret@host", "has credentials in it"),
        ("mlflow+http://host?nmae=a", "unknown option 'nmae'; there are name, alias, experiment"),
        ("mlflow+http://host?name=", "needs one value"),
        ("mlflow+http://host?name=a&name=b", "needs one value"),
        ("mlflow+http://host?name=a/b", "no name of a registered model"),
        ("mlflow+http://host?name=a' or name='b", "no name of a registered model"),
        ("mlflow+http://host?alias=v3", "is no alias"),
        ("mlflow+http://host?alias=latest", "is no alias"),
        ("mlflow+http://host?alias=a.b", "is no alias"),
    ],
)
def test_a_url_that_is_none_is_refused_with_what_is_expected(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        MlflowPlace.from_url(url, {})
    assert "secret" not in caught.value.message


def test_a_database_is_no_server() -> None:
    with pytest.raises(ConfigurationError, match="speaks to servers, not to their databases"):
        MlflowPlace.from_url("mlflow:", {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"})


def manifest(**changes: object) -> Manifest:
    files = {name: FileEntry("ab" * 32, 2048) for name in ("model.onnx", "warmup.npz")}
    made = manifest_of("config")(2, 1, files)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type] # the changes are fields


def test_every_metric_goes_with_its_baseline_and_its_bounds_under_a_name_that_mlflow_takes() -> None:
    odd = dataclasses.replace(ACCURACY, name="top(5)%", value=0.5)
    found = record.metrics_of(manifest(metrics=(ACCURACY, odd)))
    assert (found["accuracy"], found["accuracy_baseline"], found["accuracy_loss_high"]) == (1.0, 1.0, 0.04)
    assert found["top_5__"] == 0.5
    assert (found["speedup"], found["size_bytes"]) == (1.0, 2048.0)


def test_lineage_gate_and_signature_are_tags() -> None:
    source = RegistryEntry("http://host", "nets", 3, "run", "model.safetensors")
    made = manifest(
        commit="1234-dirty",
        checkpoint=CheckpointEntry("model.safetensors", "cd" * 32, 16, source),
        gate=GateEntry(passed=False, reasons=("slow",), waiver="a demonstration"),
    )
    tags = record.tags_of(made, "ef" * 32, signed=True)
    assert tags["penstock.checkpoint_model"] == "nets/3"
    assert tags["penstock.checkpoint_run"] == "run"
    assert tags["penstock.gate"] == "waived: a demonstration"
    assert (tags["penstock.signed"], tags["penstock.commit"], tags["penstock.parent"]) == ("true", "1234-dirty", "1")
    assert record.run_tags_of(made)["mlflow.source.git.commit"] == "1234"
    assert "Published against the gate: a demonstration." in record.description_of(made)


def test_what_is_not_known_is_no_tag() -> None:
    tags = record.tags_of(manifest(), "ef" * 32, signed=False)
    assert not {"penstock.commit", "penstock.checkpoint_run", "penstock.calibration_sha256"} & tags.keys()
    assert "compute_capability" not in record.params_of(manifest())


def test_a_value_that_is_too_long_for_mlflow_is_cut() -> None:
    made = manifest(gate=GateEntry(passed=False, reasons=("slow",), waiver="x" * 9000))
    assert all(len(value) <= 5000 for value in record.tags_of(made, "ef" * 32, signed=False).values())
    assert all(len(value) <= 5000 for value in record.run_tags_of(made).values())
