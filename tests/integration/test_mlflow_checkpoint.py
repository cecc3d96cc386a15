"""A recipe's weights come from a real MLflow server's registry: whole, on record, and never as a pickle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
from enginebuild.digests import sha256_of
from enginebuild.pipeline import Order, build
from enginebuild.stores.choice import open_store
from enginebuild.stores.mlflow.server import MlflowServer
from enginebuild.stores.transfer import push
from safetensors.torch import save_file

from services.core.errors import ConfigurationError, Forbidden, IntegrityError, NotFound, Unavailable
from services.core.records.checkpoint_record import RegistryEntry
from services.core.records.manifest import Manifest
from tests.fakes import tiny_recipe
from tests.fakes.mlflow_flavours import log_flavours
from tests.fakes.mlflow_proxy import MlflowProxy, mlflow_proxy
from tests.fakes.running_mlflow import RunningMlflow
from tests.fakes.store_contract import nobody

pytestmark = pytest.mark.integration

CREATED = "2026-11-20T10:00:00+00:00"
SAFE = "weights/model.safetensors"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")


@pytest.fixture(scope="module")
def client(mlflow: RunningMlflow) -> Any:
    return MlflowServer(mlflow.address).client


@pytest.fixture(scope="module")
def nets(client: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registered model of two versions, each with the weights alone in two forms; and a whole pickled network."""
    name = f"nets {uuid4().hex}"
    client.create_registered_model(name)
    for number in range(2):
        run = client.create_run("0").info
        folder = tmp_path_factory.mktemp("weights")
        weight = torch.zeros(2, 8)
        weight[0, :4] = weight[1, 4:] = 1 + number
        save_file({"mix.weight": weight}, folder / "model.safetensors")
        torch.save({"mix.weight": weight}, folder / "state.pt")
        torch.save(torch.nn.Linear(4, 2), folder / "network.pt")
        for file in folder.iterdir():
            client.log_artifact(run.run_id, str(file), "weights")
        version = client.create_model_version(name, run.artifact_uri, run.run_id)
        client.set_registered_model_alias(name, "production", version.version)
    return name


@pytest.fixture(scope="module")
def flavours(mlflow: RunningMlflow) -> str:
    name = f"flavours {uuid4().hex}"
    log_flavours(mlflow.address, name)
    return name


@pytest.fixture
def proxy(mlflow: RunningMlflow) -> Iterator[MlflowProxy]:
    with mlflow_proxy(mlflow.port) as running:
        yield running


def built(tmp_path: Path, source: dict[str, Any], order: dict[str, Any] | None = None, **changes: Any) -> Manifest:
    """Build the tiny recipe with a checkpoint in MLflow."""
    checkpoint = {} if "network" in changes else {"checkpoint": {"mlflow": source}}
    if not (tmp_path / "recipe").exists():
        tiny_recipe.write(tmp_path / "recipe")
    recipe = tiny_recipe.recipe(**{**tiny_recipe.FP32_ONLY, **checkpoint, **changes})
    asked = Order(tmp_path / "repository", CREATED, cache=tmp_path / "cache", **(order or {}))
    result = build(recipe, tmp_path / "recipe", asked, nobody)
    assert result.published is not None
    return result.published.manifest


def fetched(proxy: MlflowProxy, file: str) -> int:
    return len([asked for asked in proxy.asked if asked.startswith("GET ") and asked.endswith(file)])


def test_where_the_weights_come_from_is_in_the_manifest_and_in_mlflow_again_after_a_push(
    mlflow: RunningMlflow, client: Any, nets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.address)
    found = built(tmp_path, {"model": nets, "version": 1, "path": SAFE}).checkpoint
    run = client.get_model_version(nets, "1").run_id
    assert found.registry == RegistryEntry(mlflow.address, nets, 1, run, SAFE)
    (cached,) = (tmp_path / "cache").rglob("*.safetensors")
    assert (found.file, found.sha256) == ("model.safetensors", sha256_of(cached))
    name = f"engines {uuid4().hex}"
    push(open_store(f"mlflow:?name={name}"), tmp_path / "repository", "sums", 1, nobody)
    (pushed,) = client.search_model_versions(f"name='{name}' and tags.`penstock.checkpoint_run`='{run}'")
    assert pushed.tags["penstock.checkpoint_model"] == f"{nets}/1"
    assert pushed.tags["penstock.checkpoint_sha256"] == found.sha256


def test_an_alias_means_the_version_that_it_points_to_now(
    mlflow: RunningMlflow, client: Any, nets: str, tmp_path: Path
) -> None:
    source = {"model": nets, "alias": "production", "path": "weights/state.pt", "server": mlflow.address}
    assert built(tmp_path, source).checkpoint.registry == RegistryEntry(
        mlflow.address, nets, 2, client.get_model_version(nets, "2").run_id, "weights/state.pt"
    )
    client.set_registered_model_alias(nets, "moving", "1")
    entry = built(tmp_path, {**source, "alias": "moving"}).checkpoint.registry
    assert entry is not None
    assert entry.version == 1


def test_a_file_is_fetched_once_and_again_when_the_cache_is_damaged(
    proxy: MlflowProxy, nets: str, tmp_path: Path
) -> None:
    source = {"model": nets, "version": 1, "path": SAFE, "server": proxy.address}
    first = built(tmp_path, source).checkpoint
    assert built(tmp_path, source).checkpoint == first
    assert fetched(proxy, SAFE) == 1
    (cached,) = (tmp_path / "cache").rglob("*.safetensors")
    cached.write_bytes(b"?" * cached.stat().st_size)
    assert built(tmp_path, source).checkpoint == first
    assert fetched(proxy, SAFE) == 2
    assert [path.name for path in cached.parent.parent.iterdir()] == [first.sha256]


def test_the_digest_in_the_recipe_is_the_only_one_that_is_taken(
    mlflow: RunningMlflow, nets: str, tmp_path: Path
) -> None:
    source = {"model": nets, "version": 1, "path": SAFE, "server": mlflow.address}
    digest = built(tmp_path, source).checkpoint.sha256
    assert built(tmp_path, {**source, "sha256": digest}).checkpoint.sha256 == digest
    with pytest.raises(IntegrityError, match=f"has SHA-256 [0-9a-f]{{64}}; the recipe says {digest}"):
        built(tmp_path, {**source, "version": 2, "sha256": digest})


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"version": 9}, NotFound, "has no version 9 of"),
        ({"version": None, "alias": "stagin"}, NotFound, "no alias 'stagin'; it has (moving, )?production"),
        ({"model": "nobody's own"}, ConfigurationError, "String should match"),
        ({"model": "nobody"}, NotFound, "has no version 1 of 'nobody'"),
        ({"model": "nobody", "version": None, "alias": "a"}, NotFound, "has no registered model 'nobody'"),
        ({"path": "model.safetensors"}, NotFound, "no artifact 'model.safetensors'; it has .*weights/model.safeten"),
        ({"path": "weights"}, NotFound, "no artifact 'weights'"),
        ({"path": "weights/network.pt"}, ConfigurationError, "could run code; it was not opened"),
        ({"max_bytes": 10}, IntegrityError, r"has \d+ bytes; at most 10 are fetched \(max_bytes\)"),
        ({"server": "http://127.0.0.1:9"}, Unavailable, "MLflow at http://127.0.0.1:9 does not"),
        ({"server": None}, ConfigurationError, "Set MLFLOW_TRACKING_URI"),
    ],
)
def test_what_cannot_be_had_or_must_not_be_is_named(
    *,
    mlflow: RunningMlflow,
    nets: str,
    tmp_path: Path,
    changes: dict[str, Any],
    error: type[Exception],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    source = {"model": nets, "version": 1, "path": SAFE, "server": mlflow.address} | changes
    with pytest.raises((error, ValueError), match=words):
        built(tmp_path, source)
    assert not list(tmp_path.glob("repository/sums/[0-9]*"))


@pytest.mark.parametrize(
    ("version", "path", "words"),
    [
        (1, "data/model.pth", "is a network that MLflow pickled.*log the weights alone.*serialization_format='pt2'"),
        (1, SAFE, "no artifact 'weights/model.safetensors'; it has .*MLmodel.*log the weights alone"),
        (3, "python_model.pkl", "is a pickle.*log the weights alone"),
    ],
)
def test_mlflows_pickled_flavours_are_never_loaded_and_it_is_said_what_to_log_instead(
    *, mlflow: RunningMlflow, flavours: str, tmp_path: Path, version: int, path: str, words: str
) -> None:
    source = {"model": flavours, "version": version, "path": path, "server": mlflow.address}
    with pytest.raises((ConfigurationError, NotFound, ValueError), match=words):
        built(tmp_path, source)
    assert not (tmp_path / "cache").exists()


def test_a_network_that_mlflow_exported_is_built_when_its_digest_is_in_the_recipe(
    mlflow: RunningMlflow, flavours: str, tmp_path: Path
) -> None:
    source = {"model": flavours, "version": 2, "path": "data/model.pt2", "server": mlflow.address}
    wrong = {"network": {"mlflow": {**source, "sha256": "ab" * 32}}, "checkpoint": None}
    with pytest.raises(IntegrityError, match="the recipe says abab"):
        built(tmp_path, {}, **wrong)
    (cached,) = (tmp_path / "cache").rglob("model.pt2")
    manifest = built(tmp_path, {}, checkpoint=None, network={"mlflow": {**source, "sha256": sha256_of(cached)}})
    assert manifest.checkpoint.file == "model.pt2"
    assert manifest.checkpoint.registry is not None
    assert (manifest.checkpoint.registry.model, manifest.checkpoint.registry.version) == (flavours, 2)


def test_other_weights_may_be_given_but_nothing_can_be_trained(
    mlflow: RunningMlflow, nets: str, tmp_path: Path
) -> None:
    source = {"model": nets, "version": 1, "path": SAFE, "server": mlflow.address}
    built(tmp_path, source)
    (cached,) = (tmp_path / "cache").rglob("*.safetensors")
    assert built(tmp_path, source, {"checkpoint": cached}).checkpoint.registry is None
    with pytest.raises(ConfigurationError, match="comes from MLflow, and nothing here trains it"):
        built(tmp_path, source, {"retrain": True})


def test_a_fetch_that_is_cut_off_leaves_nothing_in_the_cache(proxy: MlflowProxy, nets: str, tmp_path: Path) -> None:
    source = {"model": nets, "version": 1, "path": SAFE, "server": proxy.address}
    proxy.refusing_artifacts = 403
    with pytest.raises(Forbidden, match="does not give access"):
        built(tmp_path, source)
    proxy.refusing_artifacts = 0
    for requests in range(1, 6):
        proxy.breaking_after = requests
        with pytest.raises(Unavailable):
            built(tmp_path, source)
        assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
