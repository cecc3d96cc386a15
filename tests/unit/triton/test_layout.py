"""A model repository on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.core.errors import ConfigurationError, NotFound
from services.triton.layout import RepositoryLayout


@pytest.fixture
def root(tmp_path: Path) -> Path:
    model = tmp_path / "repository" / "digits"
    for entry in ("1", "2", "10", "0", "007", "-3", "1.5", "draft", "٣"):
        (model / entry).mkdir(parents=True)
    (model / "4").write_text("a file, not a version")
    (model / "config.pbtxt").write_text('name: "digits" backend: "onnxruntime" max_batch_size: 8')
    (model / "2" / "manifest.json").write_text('{"version": 2}')
    (tmp_path / "repository" / "no-config").mkdir()
    (tmp_path / "repository" / ".staging" / "half").mkdir(parents=True)
    (tmp_path / "repository" / ".staging" / "config.pbtxt").write_text("")
    return tmp_path / "repository"


def test_models_are_the_directories_with_a_configuration(root: Path) -> None:
    assert RepositoryLayout(root).models() == ["digits"]


def test_versions_are_positive_integers_in_ascending_order(root: Path) -> None:
    assert RepositoryLayout(root).versions("digits") == [1, 2, 10]


def test_the_configuration_is_parsed(root: Path) -> None:
    config = RepositoryLayout(root).config("digits")
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 8)


@pytest.mark.parametrize("text", ['name: "other"', "max_batch_size: many", "no_such_field: 1", "\udcff"])
def test_a_configuration_that_is_wrong_is_named(root: Path, text: str) -> None:
    path = root / "digits" / "config.pbtxt"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigurationError, match=r"config\.pbtxt"):
        RepositoryLayout(root).config("digits")


def test_a_manifest_is_read_where_there_is_one(root: Path) -> None:
    layout = RepositoryLayout(root)
    assert layout.manifest("digits", 2) == {"version": 2}
    assert layout.manifest("digits", 1) is None
    for text in ("[1]", "{", "\x00"):
        (root / "digits" / "1" / "manifest.json").write_text(text)
        with pytest.raises(ConfigurationError, match=r"manifest\.json"):
            layout.manifest("digits", 1)


def test_what_is_not_there_is_named_with_what_is(root: Path) -> None:
    layout = RepositoryLayout(root)
    with pytest.raises(NotFound, match="models here: digits"):
        layout.versions("cats")
    with pytest.raises(NotFound, match="versions here: 1, 2, 10"):
        layout.version_directory("digits", 3)


@pytest.mark.parametrize(
    "name", ["..", "../digits", "digits/..", "", ".", ".staging", "a/b", "a\0b", "a\nb", "x" * 200]
)
def test_no_name_leads_out_of_the_repository(root: Path, name: str) -> None:
    with pytest.raises(NotFound):
        RepositoryLayout(root).versions(name)


def test_a_link_that_leads_out_is_refused_and_one_that_stays_is_fine(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "1").mkdir(parents=True)
    (outside / "config.pbtxt").write_text("")
    (root / "linked").symlink_to(outside)
    (root / "digits" / "11").symlink_to(outside)
    (root / "same").symlink_to(root / "digits")
    layout = RepositoryLayout(root)
    with pytest.raises(ConfigurationError, match="leads out"):
        layout.versions("linked")
    with pytest.raises(ConfigurationError, match="leads out"):
        layout.version_directory("digits", 11)
    assert 2 in layout.versions("same")


def test_a_repository_that_is_a_link_itself_is_fine(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    layout = RepositoryLayout(tmp_path / "link")
    assert layout.versions("digits") == [1, 2, 10]
    assert layout.version_directory("digits", 2) == tmp_path / "link" / "digits" / "2"


def test_a_repository_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="model repository"):
        RepositoryLayout(tmp_path / "nowhere").models()
