"""Nothing is loaded that is not what was published, or that nobody signed where signatures are asked for."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from enginebuild.publish import publish
from enginebuild.signing import Signer
from enginebuild.staging import claim

from services.core.accelerator import Accelerator
from services.core.errors import ConfigurationError, IntegrityError, NotFound
from services.core.records.engine_record import EngineEntry
from services.core.records.manifest import FileEntry, Manifest, TargetEntry
from services.triton.layout import RepositoryLayout
from services.triton.trust import Trust
from tests.fakes import tiny_recipe
from tests.fakes.releases import manifest_of, publish_many, release
from tests.fakes.signing_keys import write_keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def signed(keys: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("signed")
    publish_many(repository, 1, lambda _: None, Signer(keys[0]).sign)
    return repository


@pytest.fixture
def repository(signed: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(signed, tmp_path / "repository", symlinks=True)
    return tmp_path / "repository"


def check(repository: Path, key: Path | None = None) -> None:
    Trust(RepositoryLayout(repository), key).check("sums", 1)


def engine(repository: Path) -> RepositoryLayout:
    """Publish an engine for an H200."""
    config = tiny_recipe.config_pbtxt()
    make = manifest_of(config)

    def manifest(version: int, parent: int | None, files: dict[str, FileEntry]) -> Manifest:
        target = TargetEntry("tensorrt", "10.13.3.9", "NVIDIA H200", "9.0", {})
        built = EngineEntry("0" * 64, 3, None, False, False, "the same graph", {}, None, ())
        return dataclasses.replace(make(version, parent, files), target=target, engine=built)

    with claim(repository) as staging:
        publish(release(repository, staging, b"", config, {"labels.txt": "a\nb\n"}), manifest, lambda _: None)
    return RepositoryLayout(repository)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_an_engine_is_loaded_on_its_own_gpu_and_nowhere_else(tmp_path: Path) -> None:
    layout = engine(tmp_path)
    Trust(layout, accelerator=lambda: Accelerator("9.0")).check("sums", 1)
    with pytest.raises(IntegrityError, match=r"Triton's GPU has 8\.6: build it there"):
        Trust(layout, accelerator=lambda: Accelerator("8.6")).check("sums", 1)
    with pytest.raises(IntegrityError, match=r"set triton\.compute_capability"):
        Trust(layout).check("sums", 1)
    manifest = Trust(layout).check_files("sums", 1)
    assert manifest is not None
    assert manifest.engine is not None


def test_only_an_engine_makes_anybody_look_for_a_gpu(repository: Path) -> None:
    def asked() -> Accelerator:
        raise AssertionError("nobody needs to know")

    Trust(RepositoryLayout(repository), accelerator=asked).check("sums", 1)


def test_what_was_published_and_signed_is_trusted(repository: Path, keys: tuple[Path, Path]) -> None:
    check(repository)
    check(repository, keys[1])


def test_a_version_of_someone_else_is_loaded_only_where_nobody_asks_for_signatures(
    tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    folder = tmp_path / "sums" / "1"
    folder.mkdir(parents=True)
    (tmp_path / "sums" / "config.pbtxt").write_text('name: "sums"')
    (folder / "model.onnx").write_bytes(b"\x12\x0asomebody's")
    check(tmp_path)
    with pytest.raises(IntegrityError, match=r"has no manifest\.json"):
        check(tmp_path, keys[1])
    with pytest.raises(NotFound):
        Trust(RepositoryLayout(tmp_path)).check("sums", 2)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: flip(folder / "model.onnx"), "model.onnx has sha256"),
        (lambda folder: (folder / "model.onnx").unlink(), "model.onnx is missing"),
        (lambda folder: (folder / "model.data").write_bytes(b"x"), "model.data is not in the manifest"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), "manifest.json: "),
    ],
    ids=range(4),
)
def test_a_changed_file_is_refused_with_and_without_a_key(
    repository: Path, keys: tuple[Path, Path], damage: Callable[[Path], object], words: str
) -> None:
    damage(repository / "sums" / "1")
    for key in (None, keys[1]):
        with pytest.raises(IntegrityError, match=words):
            check(repository, key)


def test_a_file_and_its_digest_changed_together_are_caught_by_the_signature(
    repository: Path, keys: tuple[Path, Path]
) -> None:
    manifest = repository / "sums" / "1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 0', '"seed": 1'))
    check(repository)
    with pytest.raises(IntegrityError, match=r"model\.sig is no signature of this version"):
        check(repository, keys[1])


def test_a_signature_of_another_key_another_version_or_none_is_refused(
    repository: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    other = write_keys(tmp_path, "other")
    with pytest.raises(IntegrityError, match=r"is no signature of this version for .*other\.pub: Key mismatch"):
        check(repository, other[1])
    signature = repository / "sums" / "1" / "model.sig"
    publish_many(repository, 1, lambda _: None, Signer(keys[0]).sign)
    shutil.copy(repository / "sums" / "2" / "model.sig", signature)
    with pytest.raises(IntegrityError, match="is no signature of this version"):
        check(repository, keys[1])
    for text in ("", "{}", "not json", '{"dsseEnvelope": {"payload": "AAAA"}}'):
        signature.write_text(text)
        with pytest.raises(IntegrityError, match=r"model\.sig"):
            check(repository, keys[1])
    signature.unlink()
    with pytest.raises(IntegrityError, match=r"is not signed: there is no model\.sig; build it with --sign-key"):
        check(repository, keys[1])


def test_a_key_that_cannot_be_read_is_told_and_trusts_nothing(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no file"):
        check(repository, tmp_path / "absent.pub")
    (tmp_path / "wrong.pub").write_text("no key")
    with pytest.raises(ConfigurationError, match="is not a public key in PEM"):
        check(repository, tmp_path / "wrong.pub")
    with pytest.raises(ConfigurationError, match="expected an elliptic-curve key in PEM"):
        Signer(tmp_path / "wrong.pub")
    with pytest.raises(ConfigurationError, match="expected an elliptic-curve key in PEM"):
        Signer(tmp_path / "absent.pem")
