"""Versions go to a real MLflow server's model registry and come back byte for byte, or not at all."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from enginebuild.digests import sha256_of
from enginebuild.stores.choice import open_store
from enginebuild.stores.mlflow.server import MlflowServer
from enginebuild.stores.store import Store
from enginebuild.stores.transfer import pull, push

from services.core.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    IntegrityError,
    NotFound,
    PenstockError,
    Unavailable,
)
from tests.fakes.mlflow_proxy import MlflowProxy, mlflow_proxy
from tests.fakes.releases import publish_many
from tests.fakes.running_mlflow import RunningMlflow
from tests.fakes.store_contract import StoreContract, expect_the_same, nobody, published

pytestmark = pytest.mark.integration

# Every test has a registered model of its own on the one server; the model in the repository is always called sums.
Name = str


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")


@pytest.fixture
def name() -> Name:
    return f"sums {uuid4().hex}"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return published(tmp_path / "repository")


@pytest.fixture
def store(mlflow: RunningMlflow, name: Name) -> Store:
    return open_store(f"mlflow+{mlflow.address}?name={name}")


@pytest.fixture
def proxy(mlflow: RunningMlflow) -> Iterator[MlflowProxy]:
    with mlflow_proxy(mlflow.port) as running:
        yield running


@pytest.fixture
def client(mlflow: RunningMlflow) -> Any:
    return MlflowServer(mlflow.address).client


@pytest.fixture
def files(mlflow: RunningMlflow, client: Any, name: Name) -> Callable[[], Path]:
    """Returns where the server has the artifacts of the first registered version."""

    def find() -> Path:
        run = client.get_run(client.get_model_version(name, "1").run_id).info
        return mlflow.artifacts.joinpath(run.experiment_id, run.run_id, "artifacts")

    return find


def through(proxy: MlflowProxy, name: Name, more: str = "") -> Store:
    return open_store(f"mlflow+{proxy.address}?name={name}{more}")


class TestMlflow(StoreContract):
    """What every store promises."""


def test_a_version_can_be_found_and_judged_in_mlflow_alone(
    store: Store, client: Any, repository: Path, name: Name
) -> None:
    manifest = push(store, repository, "sums", 2, nobody)
    wanted = f"name='{name}' and tags.`penstock.precision`='fp32' and tags.`penstock.target`='onnxruntime'"
    (found,) = client.search_model_versions(wanted)
    assert found.tags["penstock.version"] == "2"
    assert found.tags["penstock.checkpoint_sha256"] == manifest.checkpoint.sha256
    assert found.tags["penstock.manifest_sha256"] == sha256_of(repository / "sums" / "2" / "manifest.json")
    assert found.tags["penstock.signed"] == "false"
    assert "sums version 2 of Penstock: fp32" in found.description
    run = client.get_run(found.run_id)
    experiment = run.info.experiment_id
    digest = f"tags.`penstock.manifest_sha256`='{found.tags['penstock.manifest_sha256']}'"
    better = client.search_runs([experiment], f"metrics.accuracy > 0.99 and params.variant = 'fp32' and {digest}")
    assert [one.info.run_id for one in better] == [found.run_id]
    assert (run.info.status, run.info.run_name) == ("FINISHED", "sums 2")
    assert run.data.metrics["size_bytes"] == manifest.size_bytes
    assert run.data.metrics["accuracy_loss_high"] == 0.04
    assert run.data.params["input.left"] == "FP32 [4]"


def test_an_alias_moves_with_a_push_and_is_followed_by_a_pull(
    mlflow: RunningMlflow, client: Any, repository: Path, tmp_path: Path, name: Name
) -> None:
    plain = f"mlflow+{mlflow.address}?name={name}"
    alias = open_store(f"{plain}&alias=production")
    with pytest.raises(NotFound, match="no version of 'sums'"):
        pull(alias, tmp_path / "elsewhere", "sums", None, nobody, check=nobody)
    push(open_store(plain), repository, "sums", 1, nobody)
    with pytest.raises(NotFound, match="alias 'production'"):
        pull(alias, tmp_path / "elsewhere", "sums", None, nobody, check=nobody)
    for version in (2, 1):
        push(alias, repository, "sums", version, nobody)
        assert alias.versions("sums") == [version]
        assert pull(alias, tmp_path / "elsewhere", "sums", None, nobody, check=nobody).version == version
    with pytest.raises(NotFound, match="no version 2 of 'sums' with alias 'production'"):
        pull(alias, tmp_path / "third", "sums", 2, nobody, check=nobody)
    run = client.create_run("0").info
    foreign = client.create_model_version(name, run.artifact_uri, run.run_id)
    client.set_registered_model_alias(name, "production", foreign.version)
    with pytest.raises(NotFound, match=f"is version {foreign.version} in MLflow, which is no version of 'sums'"):
        pull(alias, tmp_path / "third", "sums", None, nobody, check=nobody)
    assert open_store(plain).versions("sums") == [1, 2]


def test_the_experiment_is_the_one_that_is_named_and_a_deleted_one_is_told(
    mlflow: RunningMlflow, client: Any, repository: Path, name: Name
) -> None:
    store = open_store(f"mlflow+{mlflow.address}?name={name}&experiment={name}")
    push(store, repository, "sums", 1, nobody)
    experiment = client.get_experiment_by_name(name).experiment_id
    assert [run.info.run_name for run in client.search_runs([experiment])] == ["sums 1"]
    client.delete_experiment(experiment)
    with pytest.raises(Conflict, match=f"experiment '{name}' is deleted"):
        push(store, repository, "sums", 2, nobody)


def test_a_push_that_is_cut_off_anywhere_is_seen_by_nobody_or_whole(
    proxy: MlflowProxy, store: Store, repository: Path, tmp_path: Path, name: Name
) -> None:
    cut = 0
    for requests in itertools.count():
        proxy.breaking_after = requests
        try:
            push(through(proxy, name), repository, "sums", 1, nobody)
        except Unavailable:
            cut += 1
        else:
            break
        finally:
            proxy.breaking_after = None
        if store.versions("sums"):
            pull(store, tmp_path / "early", "sums", 1, nobody, check=nobody)
            expect_the_same(repository, tmp_path / "early", 1)
        else:
            with pytest.raises(NotFound):
                pull(store, tmp_path / "elsewhere", "sums", 1, nobody, check=nobody)
    assert cut > 15
    pull(store, tmp_path / "elsewhere", "sums", None, nobody, check=nobody)
    expect_the_same(repository, tmp_path / "elsewhere", 1)


def test_a_pull_that_is_cut_off_anywhere_leaves_nothing(
    proxy: MlflowProxy, store: Store, repository: Path, tmp_path: Path, name: Name
) -> None:
    push(store, repository, "sums", 1, nobody)
    for requests in itertools.count():
        proxy.breaking_after = requests
        try:
            pull(through(proxy, name), tmp_path / "elsewhere", "sums", None, nobody, check=nobody)
        except Unavailable:
            assert not (tmp_path / "elsewhere" / "sums").exists()
        else:
            break
    assert requests > 10
    expect_the_same(repository, tmp_path / "elsewhere", 1)


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json", "config.pbtxt"])
def test_a_server_that_is_gone_in_the_middle_of_a_file_leaves_nothing(
    *, proxy: MlflowProxy, store: Store, repository: Path, tmp_path: Path, name: Name, file: str
) -> None:
    push(store, repository, "sums", 1, nobody)
    proxy.cutting = f"/{file}"
    with pytest.raises(Unavailable, match=f"artifact '.*{file}'"):
        pull(through(proxy, name), tmp_path / "elsewhere", "sums", None, nobody, check=nobody)
    assert not (tmp_path / "elsewhere" / "sums").exists()
    with pytest.raises(Unavailable, match=f"artifact '.*{file}'"):
        push(through(proxy, name), repository, "sums", 2, nobody)
    assert store.versions("sums") == [1]


def test_a_registration_whose_answer_is_lost_counts_once(
    *, proxy: MlflowProxy, store: Store, client: Any, repository: Path, tmp_path: Path, name: Name
) -> None:
    proxy.losing = "/model-versions/create"
    push(through(proxy, name), repository, "sums", 1, nobody)
    assert proxy.asked.count("POST /api/2.0/mlflow/model-versions/create") == 2
    assert [version.version for version in client.search_model_versions(f"name='{name}'")] in ([1], ["1"])
    pull(store, tmp_path / "elsewhere", "sums", 1, nobody, check=nobody)
    expect_the_same(repository, tmp_path / "elsewhere", 1)


def test_of_several_that_push_one_number_at_once_the_first_counts_for_all(
    mlflow: RunningMlflow, client: Any, tmp_path: Path, name: Name
) -> None:
    repositories = [published(tmp_path / str(number)) for number in range(3)]
    ended: dict[Path, PenstockError | None] = {}

    def try_to_push(repository: Path) -> None:
        try:
            push(open_store(f"mlflow+{mlflow.address}?name={name}"), repository, "sums", 1, nobody)
        except PenstockError as error:
            ended[repository] = error
        else:
            ended[repository] = None

    threads = [threading.Thread(target=try_to_push, args=(repository,)) for repository in repositories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (winner,) = [repository for repository, error in ended.items() if error is None]
    assert [type(error) for error in ended.values() if error is not None] == [Conflict, Conflict]
    assert len(client.search_model_versions(f"name='{name}'")) == 1
    store = open_store(f"mlflow+{mlflow.address}?name={name}")
    pull(store, tmp_path / "elsewhere", "sums", None, nobody, check=nobody)
    expect_the_same(winner, tmp_path / "elsewhere", 1)


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json", "config.pbtxt"])
def test_a_byte_that_changes_on_the_way_there_is_noticed_before_anything_is_registered(
    proxy: MlflowProxy, store: Store, repository: Path, name: Name, file: str
) -> None:
    proxy.flipping = f"/{file}"
    with pytest.raises(IntegrityError, match=f"other bytes than were sent as .*{file}"):
        push(through(proxy, name), repository, "sums", 1, nobody)
    assert store.versions("sums") == []


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("version/model.onnx", lambda data: data[:-1] + b"?", "model.onnx differ"),
        ("version/model.onnx", lambda data: data + b"?", r"model\.onnx \(2,001 bytes; 2,000 bytes expected\)"),
        ("version/model.onnx", None, r"model\.onnx \(none; 2,000 bytes expected\)"),
        ("version/more", lambda _: b"?", r"more \(1 bytes; none expected\)"),
        ("version/a/b/c", lambda _: b"?", "a/b/c"),
        ("version/manifest.json", lambda data: data.replace(b'"seed": 0', b'"seed": 1'), "not the one that was regis"),
        ("version/manifest.json", None, r"no manifest\.json"),
        ("version/config.pbtxt", None, r"config\.pbtxt"),
        ("model/big.txt", lambda _: b"?" * (1 << 25), "at most 16,777,216 are read"),
    ],
)
def test_what_was_changed_in_mlflow_never_gets_into_a_repository(
    *, store: Store, files: Callable[[], Path], repository: Path, tmp_path: Path, file: str, change: Any, words: str
) -> None:
    push(store, repository, "sums", 1, nobody)
    path = files() / file
    if change is None:
        path.unlink()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(change(path.read_bytes() if path.exists() else b""))
    with pytest.raises(IntegrityError, match=words):
        pull(store, tmp_path / "elsewhere", "sums", 1, nobody, check=nobody)
    assert not list((tmp_path / "elsewhere").glob("sums/[0-9]*"))


def test_a_link_on_the_server_leads_nowhere(
    store: Store, files: Callable[[], Path], repository: Path, tmp_path: Path
) -> None:
    push(store, repository, "sums", 1, nobody)
    (tmp_path / "secret").write_bytes(b"?" * 2000)
    model = files() / "version" / "model.onnx"
    model.unlink()
    model.symlink_to(tmp_path / "secret")
    with pytest.raises((IntegrityError, ConfigurationError), match=r"model\.onnx"):
        pull(store, tmp_path / "elsewhere", "sums", 1, nobody, check=nobody)
    model.unlink()
    model.symlink_to(model.parent)  # a folder that has itself in it
    with pytest.raises((IntegrityError, ConfigurationError, Unavailable)):
        pull(store, tmp_path / "elsewhere", "sums", 1, nobody, check=nobody)
    assert not (tmp_path / "elsewhere" / "sums").exists()


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ([("../../evil", False, 1)], "evil|Invalid path"),
        ([("/evil", False, 1)], "evil|Invalid path"),
        ([("a/../../evil", False, 1)], "evil|Invalid path"),
        ([("..", True, None)], r"\.\.|Invalid path"),
        ([("other/evil", False, 1)], "among the artifacts in"),
        ([("model.onnx", False, None)], "no size"),
        ([("model.onnx", False, -1)], "no size"),
        ([(str(number), True, None) for number in range(600)], "more than 1,000"),
    ],
)
def test_a_list_of_files_that_leads_astray_is_refused(
    *, proxy: MlflowProxy, store: Store, repository: Path, tmp_path: Path, name: Name, listed: Any, words: str
) -> None:
    push(store, repository, "sums", 1, nobody)
    keys = ("path", "is_dir", "file_size")
    proxy.listing = lambda _: [
        {key: value for key, value in zip(keys, one, strict=True) if value is not None} for one in listed
    ]
    with pytest.raises((ConfigurationError, IntegrityError), match=words):
        pull(through(proxy, name), tmp_path / "elsewhere", "sums", 1, nobody, check=nobody)
    assert not list(tmp_path.rglob("evil"))
    assert not (tmp_path / "elsewhere" / "sums").exists()


def test_a_file_that_is_larger_than_its_manifest_says_is_not_even_fetched(
    proxy: MlflowProxy, store: Store, repository: Path, tmp_path: Path, name: Name
) -> None:
    push(store, repository, "sums", 1, nobody)

    def grown(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**file, "file_size": 1 << 50} if file["path"].endswith("model.onnx") else file for file in files]

    proxy.listing = grown
    with pytest.raises(IntegrityError, match=r"model\.onnx \(1,125,899,906,842,624 bytes; 2,000 bytes expected\)"):
        pull(through(proxy, name), tmp_path / "elsewhere", "sums", 1, nobody, check=nobody)
    assert not [asked for asked in proxy.asked if asked.endswith("model.onnx")]


def test_what_arrives_longer_than_it_was_listed_is_refused(
    *, proxy: MlflowProxy, store: Store, files: Callable[[], Path], repository: Path, tmp_path: Path, name: Name
) -> None:
    push(store, repository, "sums", 1, nobody)
    (files() / "version" / "model.onnx").write_bytes(b"?" * 3000)
    proxy.listing = lambda found: [{**one, "file_size": 2000} if one.get("file_size") == 3000 else one for one in found]
    with pytest.raises(IntegrityError, match="arrived with 3,000 bytes; MLflow lists 2,000"):
        pull(through(proxy, name), tmp_path / "elsewhere", "sums", 1, nobody, check=nobody)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, Forbidden, "does not give access .* MLFLOW_TRACKING_TOKEN"),
        (403, Forbidden, "does not give access"),
        (404, NotFound, "has no"),
        (503, Unavailable, "too many 503 error responses"),
    ],
)
def test_a_server_that_refuses_is_told_as_what_it_is(
    *,
    proxy: MlflowProxy,
    repository: Path,
    tmp_path: Path,
    name: Name,
    status: int,
    error: type[PenstockError],
    words: str,
) -> None:
    store = through(proxy, name)
    proxy.refusing = status
    with pytest.raises(error, match=words):
        push(store, repository, "sums", 1, nobody)
    with pytest.raises(error, match=words):
        pull(store, tmp_path / "elsewhere", "sums", None, nobody, check=nobody)


def test_a_server_that_stops_giving_access_to_files_is_told(
    proxy: MlflowProxy, store: Store, repository: Path, tmp_path: Path, name: Name
) -> None:
    push(store, repository, "sums", 1, nobody)
    proxy.refusing_artifacts = 403
    with pytest.raises(Forbidden, match="does not give access"):
        pull(through(proxy, name), tmp_path / "elsewhere", "sums", None, nobody, check=nobody)
    with pytest.raises(Forbidden, match="does not give access"):
        push(through(proxy, name), repository, "sums", 2, nobody)
    assert store.versions("sums") == [1]


def test_credentials_come_from_the_environment_and_are_in_no_message(
    proxy: MlflowProxy, name: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-secret")
    assert through(proxy, name).versions("sums") == []
    assert set(proxy.authorizations) == {"Bearer a-secret"}
    proxy.refusing = 403
    with pytest.raises(Forbidden) as caught:
        through(proxy, name).versions("sums")
    assert "a-secret" not in caught.value.message


def test_nobody_there_is_told_within_seconds(repository: Path) -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"MLflow at http://127\.0\.0\.1:9 does not"):
        push(open_store("mlflow+http://127.0.0.1:9"), repository, "sums", 1, nobody)
    assert time.monotonic() - began < 10


def test_the_server_of_the_environment_is_meant_where_none_is_named(
    mlflow: RunningMlflow, repository: Path, tmp_path: Path, name: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.address)
    push(open_store(f"mlflow:?name={name}"), repository, "sums", 1, nobody)
    assert open_store(f"mlflow+{mlflow.address}?name={name}").versions("sums") == [1]


def test_a_model_of_another_name_under_one_registered_model_is_another(
    store: Store, repository: Path, tmp_path: Path
) -> None:
    push(store, repository, "sums", 1, nobody)
    assert store.versions("differences") == []
    publish_many(tmp_path / "other", 1, nobody)
    with pytest.raises(NotFound, match="no version of 'differences'"):
        pull(store, tmp_path / "elsewhere", "differences", None, nobody, check=nobody)
