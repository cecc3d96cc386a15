"""What every store of published versions promises: the same tests for each of them.

A test module defines ``store``, an empty store, and ``repository`` with ``published``, and inherits ``StoreContract``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from enginebuild.signing import Signer
from enginebuild.stores.store import Store
from enginebuild.stores.transfer import pull, push

from services.core.errors import Conflict, IntegrityError, NotFound
from services.triton.layout import RepositoryLayout
from services.triton.published import faults_of, file_faults, required_manifest
from services.triton.trust import check_signature
from tests.fakes.releases import publish_many
from tests.fakes.signing_keys import write_keys


def published(folder: Path) -> Path:
    """Return a repository with two versions of the model ``sums``."""
    publish_many(folder, 2, nobody)
    return folder


def nobody(_: object) -> None:
    """Say nothing, and check nothing."""


def expect_the_same(one: Path, other: Path, version: int) -> None:
    """Compare a version of two repositories byte for byte."""
    layout = RepositoryLayout(other)
    manifest = required_manifest(layout, "sums", version)
    assert file_faults(layout.version_directory("sums", version), manifest) == []
    names = {path.name for path in (one / "sums" / str(version)).iterdir()}
    assert {path.name for path in (other / "sums" / str(version)).iterdir()} == names
    for name in names:
        here, there = (root / "sums" / str(version) / name for root in (one, other))
        assert here.read_bytes() == there.read_bytes()


def faults(repository: Path, version: int) -> list[str]:
    """Return in what a version differs from what was published."""
    layout = RepositoryLayout(repository)
    return faults_of(layout, required_manifest(layout, "sums", version))


def largest_batch(repository: Path) -> int:
    """Return what tells the versions' configurations apart."""
    return int(RepositoryLayout(repository).config("sums").max_batch_size)


class StoreContract:
    """Tests that take the fixtures ``store`` and ``repository``."""

    def test_what_was_pushed_comes_back_byte_for_byte_under_its_number(
        self, store: Store, repository: Path, tmp_path: Path
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

    @pytest.mark.parametrize("pushed", [(1, 2), (2, 1), (1,)])
    def test_an_old_version_alone_has_the_config_that_it_was_published_with(
        self, store: Store, repository: Path, tmp_path: Path, pushed: tuple[int, ...]
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
        self, store: Store, repository: Path, tmp_path: Path
    ) -> None:
        for version in (1, 2):
            push(store, repository, "sums", version, nobody)
        upward, downward = tmp_path / "upward", tmp_path / "downward"
        for elsewhere, order in ((upward, (1, 2)), (downward, (2, 1))):
            for version in order:
                pull(store, elsewhere, "sums", version, nobody, check=nobody)
            assert largest_batch(elsewhere) == 9
            assert [faults(elsewhere, version) for version in (1, 2)] == [[], []]

    def test_a_config_that_was_tuned_by_hand_stays_where_it_is(
        self, store: Store, repository: Path, tmp_path: Path
    ) -> None:
        config = repository / "sums" / "config.pbtxt"
        config.write_text(config.read_text().replace("max_batch_size: 9", "max_batch_size: 4"))
        push(store, repository, "sums", 2, nobody)
        pull(store, tmp_path / "elsewhere", "sums", 2, nobody, check=nobody)
        assert (largest_batch(tmp_path / "elsewhere"), faults(tmp_path / "elsewhere", 2)) == (9, [])

    def test_pushing_and_pulling_again_changes_nothing(self, store: Store, repository: Path, tmp_path: Path) -> None:
        for _ in range(2):
            push(store, repository, "sums", 1, nobody)
        said: list[str] = []
        for _ in range(2):
            pull(store, tmp_path / "elsewhere", "sums", 1, said.append, check=nobody)
        assert said[-1].endswith("is there already")
        pull(store, repository, "sums", 1, nobody, check=nobody)

    def test_another_version_of_the_same_number_is_never_written_over(
        self, store: Store, repository: Path, tmp_path: Path
    ) -> None:
        push(store, repository, "sums", 1, nobody)
        publish_many(tmp_path / "other", 1, nobody)
        with pytest.raises(Conflict, match="never written over"):
            push(store, tmp_path / "other", "sums", 1, nobody)
        with pytest.raises(Conflict, match="pull into another repository"):
            pull(store, tmp_path / "other", "sums", 1, nobody, check=nobody)
        pull(store, tmp_path / "third", "sums", 1, nobody, check=nobody)
        expect_the_same(repository, tmp_path / "third", 1)

    def test_a_signature_goes_along_and_is_asked_for(self, store: Store, tmp_path: Path) -> None:
        private, public = write_keys(tmp_path / "keys")
        publish_many(tmp_path / "signed", 1, nobody, Signer(private).sign)
        push(store, tmp_path / "signed", "sums", 1, nobody)
        pull(store, tmp_path / "elsewhere", "sums", 1, nobody, check=lambda folder: check_signature(folder, public))
        assert (tmp_path / "elsewhere" / "sums" / "1" / "model.sig").is_file()
        stranger = write_keys(tmp_path / "others")[1]
        with pytest.raises(IntegrityError):
            pull(store, tmp_path / "third", "sums", 1, nobody, check=lambda folder: check_signature(folder, stranger))
        assert not (tmp_path / "third" / "sums").exists()

    def test_what_was_changed_here_is_not_pushed(self, store: Store, repository: Path) -> None:
        (repository / "sums" / "1" / "model.onnx").write_bytes(b"changed")
        with pytest.raises(IntegrityError, match=r"model\.onnx differ"):
            push(store, repository, "sums", 1, nobody)
        shutil.rmtree(repository / "sums" / "1")
        with pytest.raises(NotFound, match="it has 2"):
            push(store, repository, "sums", 1, nobody)
        assert store.versions("sums") == []

    def test_what_is_not_signed_is_not_taken_where_a_signature_is_asked_for(
        self, store: Store, repository: Path, tmp_path: Path
    ) -> None:
        push(store, repository, "sums", 1, nobody)
        public = write_keys(tmp_path / "keys")[1]
        with pytest.raises(IntegrityError, match="not signed"):
            pull(store, tmp_path / "third", "sums", 1, nobody, check=lambda folder: check_signature(folder, public))
        assert not (tmp_path / "third" / "sums").exists()

    def test_a_link_is_not_pushed(self, store: Store, repository: Path, tmp_path: Path) -> None:
        model = repository / "sums" / "1" / "model.onnx"
        model.rename(tmp_path / "elsewhere.onnx")
        model.symlink_to(tmp_path / "elsewhere.onnx")
        with pytest.raises(IntegrityError, match=r"model\.onnx are links"):
            push(store, repository, "sums", 1, nobody)
        assert store.versions("sums") == []

    def test_what_is_not_there_is_named(self, store: Store, repository: Path, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="no version of 'sums'"):
            pull(store, tmp_path / "elsewhere", "sums", None, nobody, check=nobody)
        push(store, repository, "sums", 1, nobody)
        with pytest.raises(NotFound):
            pull(store, tmp_path / "elsewhere", "sums", 4, nobody, check=nobody)
        assert not (tmp_path / "elsewhere" / "sums").exists()
