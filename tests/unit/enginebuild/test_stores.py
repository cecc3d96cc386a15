"""Versions go to an object store and come back byte for byte, or not at all: over S3's protocol and in a folder."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from enginebuild.digests import sha256_of
from enginebuild.signing import Signer
from enginebuild.stores.choice import open_store
from enginebuild.stores.store import Store
from enginebuild.stores.transfer import pull, push

from services.core.errors import ConfigurationError, Conflict, Forbidden, IntegrityError, NotFound, Unavailable
from services.triton.layout import RepositoryLayout
from services.triton.published import faults_of, file_faults, required_manifest
from services.triton.trust import check_signature
from tests.fakes.oci_server import OciServer, registry
from tests.fakes.releases import publish_many
from tests.fakes.s3_server import BUCKET, S3Server, s3
from tests.fakes.signing_keys import write_keys


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with s3() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    publish_many(tmp_path / "repository", 2, lambda _: None)
    return tmp_path / "repository"


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


def nobody(_: object) -> None:
    pass


def expect_the_same(one: Path, other: Path, version: int) -> None:
    layout = RepositoryLayout(other)
    manifest = required_manifest(layout, "sums", version)
    assert file_faults(layout.version_directory("sums", version), manifest) == []
    names = {path.name for path in (one / "sums" / str(version)).iterdir()}
    assert {path.name for path in (other / "sums" / str(version)).iterdir()} == names
    for name in names:
        here, there = (root / "sums" / str(version) / name for root in (one, other))
        assert here.read_bytes() == there.read_bytes()


def test_what_was_pushed_comes_back_byte_for_byte_under_its_number(
    store: Store, repository: Path, tmp_path: Path
) -> None:
    for version in (1, 2):
        push(store, repository, "sums", version, nobody)
    assert store.versions("sums") == [1, 2]
    elsewhere = tmp_path / "elsewhere"
    assert pull(store, elsewhere, "sums", None, nobody, check=nobody).version == 2
    expect_the_same(repository, elsewhere, 2)
    pull(store, elsewhere, "sums", 1, nobody, check=nobody)
    expect_the_same(repository, elsewhere, 1)
    config = (repository / "sums" / "config.pbtxt").read_bytes()
    assert (elsewhere / "sums" / "config.pbtxt").read_bytes() == config  # of the newest, whatever came last
    assert not (elsewhere / ".staging").exists()
    layout = RepositoryLayout(elsewhere)
    assert [faults_of(layout, required_manifest(layout, "sums", version)) for version in (1, 2)] == [[], []]


def faults(repository: Path, version: int) -> list[str]:
    layout = RepositoryLayout(repository)
    return faults_of(layout, required_manifest(layout, "sums", version))


def largest_batch(repository: Path) -> int:
    return int(RepositoryLayout(repository).config("sums").max_batch_size)


@pytest.mark.parametrize("pushed", [(1, 2), (2, 1), (1,)])
def test_an_old_version_alone_has_the_config_that_it_was_published_with(
    store: Store, repository: Path, tmp_path: Path, pushed: tuple[int, ...]
) -> None:
    for version in pushed:
        push(store, repository, "sums", version, nobody)
    alone = tmp_path / "alone"
    pull(store, alone, "sums", 1, nobody, check=nobody)
    assert faults(alone, 1) == []
    assert (largest_batch(repository), largest_batch(alone)) == (9, 8)
    own = (repository / "sums" / "1" / "config.pbtxt").read_bytes()
    assert (alone / "sums" / "config.pbtxt").read_bytes() == own
    assert (alone / "sums" / "labels.txt").read_bytes() == (repository / "sums" / "labels.txt").read_bytes()


def test_a_newer_version_brings_its_config_and_an_older_one_leaves_it(
    store: Store, repository: Path, tmp_path: Path
) -> None:
    for version in (1, 2):
        push(store, repository, "sums", version, nobody)
    upward, downward = tmp_path / "upward", tmp_path / "downward"
    for elsewhere, order in ((upward, (1, 2)), (downward, (2, 1))):
        for version in order:
            pull(store, elsewhere, "sums", version, nobody, check=nobody)
        assert largest_batch(elsewhere) == 9
        assert [faults(elsewhere, version) for version in (1, 2)] == [[], []]


def test_a_bucket_has_the_config_of_the_newest_version_in_it(server: S3Server, repository: Path) -> None:
    store = open_store(f"s3://{BUCKET}")
    push(store, repository, "sums", 1, nobody)
    assert b"max_batch_size: 8" in server.objects["sums/config.pbtxt"]
    push(store, repository, "sums", 2, nobody)
    assert b"max_batch_size: 9" in server.objects["sums/config.pbtxt"]
    push(store, repository, "sums", 1, nobody)
    assert b"max_batch_size: 9" in server.objects["sums/config.pbtxt"]


def test_a_config_that_was_tuned_by_hand_stays_where_it_is(store: Store, repository: Path, tmp_path: Path) -> None:
    config = repository / "sums" / "config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: 9", "max_batch_size: 4"))
    push(store, repository, "sums", 2, nobody)
    pull(store, tmp_path / "elsewhere", "sums", 2, nobody, check=nobody)
    assert (largest_batch(tmp_path / "elsewhere"), faults(tmp_path / "elsewhere", 2)) == (9, [])


def test_pushing_and_pulling_again_changes_nothing(store: Store, repository: Path, tmp_path: Path) -> None:
    for _ in range(2):
        push(store, repository, "sums", 1, nobody)
    said: list[str] = []
    for _ in range(2):
        pull(store, tmp_path / "elsewhere", "sums", 1, said.append, check=nobody)
    assert said[-1].endswith("is there already")
    pull(store, repository, "sums", 1, nobody, check=nobody)


def test_another_version_of_the_same_number_is_never_written_over(
    store: Store, repository: Path, tmp_path: Path
) -> None:
    push(store, repository, "sums", 1, nobody)
    publish_many(tmp_path / "other", 1, nobody)
    with pytest.raises(Conflict, match="never written over"):
        push(store, tmp_path / "other", "sums", 1, nobody)
    with pytest.raises(Conflict, match="pull into another repository"):
        pull(store, tmp_path / "other", "sums", 1, nobody, check=nobody)
    pull(store, tmp_path / "third", "sums", 1, nobody, check=nobody)
    expect_the_same(repository, tmp_path / "third", 1)


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


def test_a_signature_goes_along_and_is_asked_for(store: Store, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path / "keys")
    publish_many(tmp_path / "signed", 1, nobody, Signer(private).sign)
    push(store, tmp_path / "signed", "sums", 1, nobody)
    pull(store, tmp_path / "elsewhere", "sums", 1, nobody, check=lambda folder: check_signature(folder, public))
    assert (tmp_path / "elsewhere" / "sums" / "1" / "model.sig").is_file()
    stranger = write_keys(tmp_path / "others")[1]
    with pytest.raises(IntegrityError):
        pull(store, tmp_path / "third", "sums", 1, nobody, check=lambda folder: check_signature(folder, stranger))
    assert not (tmp_path / "third" / "sums").exists()


def test_what_was_changed_here_is_not_pushed(store: Store, repository: Path) -> None:
    (repository / "sums" / "1" / "model.onnx").write_bytes(b"changed")
    with pytest.raises(IntegrityError, match=r"model\.onnx differ"):
        push(store, repository, "sums", 1, nobody)
    shutil.rmtree(repository / "sums" / "1")
    with pytest.raises(NotFound, match="it has 2"):
        push(store, repository, "sums", 1, nobody)
    assert store.versions("sums") == []


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
