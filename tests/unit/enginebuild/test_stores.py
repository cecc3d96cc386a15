"""Versions go to an object store and come back byte for byte, or not at all: over S3's protocol and in a folder."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from enginebuild.digests import sha256_of
from enginebuild.stores.choice import open_store
from enginebuild.stores.store import Store
from enginebuild.stores.transfer import pull, push

from services.core.errors import ConfigurationError, Forbidden, IntegrityError, NotFound, Unavailable
from tests.fakes.oci_server import OciServer, registry
from tests.fakes.s3_server import BUCKET, S3Server, s3
from tests.fakes.store_contract import StoreContract, expect_the_same, nobody, published


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with s3() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return published(tmp_path / "repository")


@pytest.fixture
def images() -> Iterator[OciServer]:
    with registry() as running:
        yield running


@pytest.fixture(params=["s3", "file", "oci"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return open_store(f"file://{tmp_path / 'store'}")
    if request.param == "oci":
        return open_store(f"{request.getfixturevalue('images').url}/some/prefix")
    request.getfixturevalue("server")
    return open_store(f"s3://{BUCKET}/some/prefix")


class TestStores(StoreContract):
    """What every store promises."""


def test_a_bucket_has_the_config_of_the_newest_version_in_it(server: S3Server, repository: Path) -> None:
    store = open_store(f"s3://{BUCKET}")
    push(store, repository, "sums", 1, nobody)
    assert b"max_batch_size: 8" in server.objects["sums/config.pbtxt"]
    push(store, repository, "sums", 2, nobody)
    assert b"max_batch_size: 9" in server.objects["sums/config.pbtxt"]
    push(store, repository, "sums", 1, nobody)
    assert b"max_batch_size: 9" in server.objects["sums/config.pbtxt"]


def test_a_push_that_is_cut_off_is_seen_by_nobody_and_goes_on(
    server: S3Server, repository: Path, tmp_path: Path
) -> None:
    store = open_store(f"s3://{BUCKET}")
    for files in (0, 1, 2):
        server.breaking_after = files
        with pytest.raises(Forbidden):
            push(store, repository, "sums", 2, nobody)
        assert store.versions("sums") == []
        with pytest.raises(NotFound):
            pull(store, tmp_path / "elsewhere", "sums", 2, nobody, check=nobody)
    server.breaking_after = None
    push(store, repository, "sums", 2, nobody)
    pull(store, tmp_path / "elsewhere", "sums", None, nobody, check=nobody)
    expect_the_same(repository, tmp_path / "elsewhere", 2)


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        ("sums/1/model.onnx", lambda data: data[:-1] + b"?", "model.onnx differ"),
        ("sums/1/model.onnx", None, "model.onnx differ"),
        (
            "sums/1/manifest.json",
            lambda data: data.replace(b'"version": 1', b'"version": 7'),
            "is that of sums version 7",
        ),
        ("sums/1/manifest.json", lambda _: b"{}", "missing"),
        ("sums/1/config.pbtxt", lambda data: data + b"\n", r"config\.pbtxt differ"),
        ("sums/1/config.pbtxt", None, r"config\.pbtxt differ"),
        ("sums/labels.txt", None, r"no 'labels\.txt' of 'sums' with the classes that version 1"),
        ("sums/labels.txt", lambda _: b"b\na\n", r"no 'labels\.txt' of 'sums' with the classes that version 1"),
        ("sums/1/more", lambda _: b"?", "more differ"),
    ],
)
def test_what_was_changed_in_the_store_never_gets_into_a_repository(  # noqa: PLR0917 - fixtures and parameters
    server: S3Server, repository: Path, tmp_path: Path, key: str, change: object, words: str
) -> None:
    store = open_store(f"s3://{BUCKET}")
    push(store, repository, "sums", 1, nobody)
    if change is None:
        del server.objects[key]
    else:
        server.objects[key] = change(server.objects.get(key, b""))  # type: ignore[operator]
    with pytest.raises(IntegrityError, match=words):
        pull(store, tmp_path / "elsewhere", "sums", 1, nobody, check=nobody)
    assert not list((tmp_path / "elsewhere").glob("sums/[0-9]*"))


def test_a_key_that_leads_out_of_the_folder_is_refused(server: S3Server, repository: Path, tmp_path: Path) -> None:
    store = open_store(f"s3://{BUCKET}")
    push(store, repository, "sums", 1, nobody)
    server.objects["sums/1/../../../../evil"] = b"x"
    with pytest.raises((ConfigurationError, IntegrityError, Unavailable)):
        pull(store, tmp_path / "elsewhere", "sums", 1, nobody, check=nobody)
    assert not (tmp_path / "evil").exists()
    assert not list(tmp_path.rglob("evil"))


def test_a_store_that_does_not_answer_or_let_in_is_named(server: S3Server, repository: Path, tmp_path: Path) -> None:
    store = open_store(f"s3://{BUCKET}")
    server.refusing = 403
    with pytest.raises(Forbidden, match=f"s3://{BUCKET} does not give access"):
        push(store, repository, "sums", 1, nobody)
    with pytest.raises(Forbidden):
        pull(store, tmp_path / "elsewhere", "sums", None, nobody, check=nobody)
    server.refusing = 0
    with pytest.raises(NotFound, match="no version of 'sums'"):
        pull(store, tmp_path / "elsewhere", "sums", None, nobody, check=nobody)
    with pytest.raises(NotFound, match="no version 4 of 'sums'"):
        pull(store, tmp_path / "elsewhere", "sums", 4, nobody, check=nobody)


@pytest.mark.parametrize("url", ["", "nowhere", "ftp://host/x", "s3://", "oci://", "oci:///x"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        open_store(url)


def test_a_registry_that_changed_a_layer_or_does_not_let_in_is_told(
    images: OciServer, repository: Path, tmp_path: Path
) -> None:
    store = open_store(f"{images.url}/some")
    push(store, repository, "sums", 1, nobody)
    digest = f"sha256:{sha256_of(repository / 'sums' / '1' / 'model.onnx')}"
    images.blobs[digest] = b"something else"
    with pytest.raises(IntegrityError, match=r"model\.onnx differ"):
        pull(store, tmp_path / "elsewhere", "sums", 1, nobody, check=nobody)
    images.refusing = 403
    with pytest.raises(Forbidden, match="does not give access"):
        push(store, repository, "sums", 2, nobody)
    images.refusing = 0
    with pytest.raises(NotFound, match="no version of 'absent'"):
        pull(store, tmp_path / "elsewhere", "absent", None, nobody, check=nobody)
    with pytest.raises(NotFound):
        pull(store, tmp_path / "elsewhere", "sums", 9, nobody, check=nobody)


@pytest.mark.parametrize("title", ["version/../../evil", "evil", "/evil", "other/evil"])
def test_a_layer_that_leads_out_of_the_folder_is_refused(
    images: OciServer, repository: Path, tmp_path: Path, title: str
) -> None:
    store = open_store(f"{images.url}/some")
    push(store, repository, "sums", 1, nobody)
    key = ("some/sums", "1")
    manifest = json.loads(images.manifests[key])
    manifest["layers"][0]["annotations"]["org.opencontainers.image.title"] = title
    images.manifests[key] = json.dumps(manifest).encode()
    with pytest.raises(ConfigurationError, match="not Penstock's"):
        pull(store, tmp_path / "elsewhere", "sums", 1, nobody, check=nobody)
    assert not list(tmp_path.rglob("evil"))


def test_an_archive_is_not_unpacked(images: OciServer, repository: Path, tmp_path: Path) -> None:
    """A link in it would lead out of the folder, and a file behind the link with it."""
    store = open_store(f"{images.url}/some")
    push(store, repository, "sums", 1, nobody)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        link = tarfile.TarInfo("version")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
        archive.addfile(link)
        file = tarfile.TarInfo("version/evil")
        file.size = 1
        archive.addfile(file, io.BytesIO(b"x"))
    (tmp_path / "outside").mkdir()
    digest = f"sha256:{hashlib.sha256(made.getvalue()).hexdigest()}"
    images.blobs[digest] = made.getvalue()
    manifest = json.loads(images.manifests["some/sums", "1"])
    manifest["layers"][0] |= {"digest": digest, "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}
    images.manifests["some/sums", "1"] = json.dumps(manifest).encode()
    with pytest.raises(ConfigurationError, match="is an archive"):
        pull(store, tmp_path / "elsewhere", "sums", 1, nobody, check=nobody)
    assert not list((tmp_path / "outside").iterdir())


def test_a_model_whose_name_no_registry_takes_is_refused(images: OciServer) -> None:
    with pytest.raises(ConfigurationError, match="small letters"):
        open_store(images.url).versions("Sums")


def test_nobody_there_is_told(repository: Path) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        push(open_store("oci://127.0.0.1:9/x"), repository, "sums", 1, nobody)
