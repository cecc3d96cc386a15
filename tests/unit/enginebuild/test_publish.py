"""A version is there whole or not at all, under a number of its own, with the interface its clients know."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from enginebuild.publish import Published, publish, refuse_interface_change, versions
from enginebuild.staging import claim

from services.core.errors import ConfigurationError, Conflict
from services.core.records.manifest import Manifest
from tests.fakes import tiny_recipe
from tests.fakes.releases import manifest_of, release

CONFIG = tiny_recipe.config_pbtxt()


def publish_one(repository: Path, content: bytes = b"model", config: str = CONFIG, labels: str = "a\nb\n") -> Published:
    with claim(repository) as staging:
        made = release(repository, staging, content, config, {"labels.txt": labels})
        return publish(made, manifest_of(config), lambda text: None)


def test_versions_count_from_one_and_each_is_whole(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        published = publish_one(tmp_path, b"model %d" % expected)
        assert published.path == tmp_path / "sums" / str(expected)
        assert (published.path / "model.onnx").read_bytes() == b"model %d" % expected
        assert Manifest.from_json((published.path / "manifest.json").read_bytes()) == published.manifest
        assert published.manifest.version == expected
    assert versions(tmp_path / "sums") == [1, 2, 3]
    assert (tmp_path / "sums" / "config.pbtxt").read_text() == CONFIG
    assert (tmp_path / "sums" / "labels.txt").read_text() == "a\nb\n"


def test_a_number_is_never_given_again_even_when_its_version_was_removed(tmp_path: Path) -> None:
    publish_one(tmp_path)
    last = publish_one(tmp_path)
    for path in last.path.iterdir():
        path.unlink()
    last.path.rmdir()
    assert publish_one(tmp_path).manifest.version == 3


def test_numbers_go_on_from_what_lies_there_without_a_lock_file(tmp_path: Path) -> None:
    (tmp_path / "sums" / "7").mkdir(parents=True)
    (tmp_path / "sums" / "12.old").mkdir()
    (tmp_path / "sums" / "099").mkdir()
    (tmp_path / "sums" / "50").write_text("a file")
    assert publish_one(tmp_path).manifest.version == 8


def test_files_that_did_not_change_are_not_written_again(tmp_path: Path) -> None:
    publish_one(tmp_path)
    before = (tmp_path / "sums" / "config.pbtxt").stat().st_ino
    publish_one(tmp_path)
    assert (tmp_path / "sums" / "config.pbtxt").stat().st_ino == before
    publish_one(tmp_path, config=CONFIG.replace("max_batch_size: 16", "max_batch_size: 32"))
    assert "max_batch_size: 32" in (tmp_path / "sums" / "config.pbtxt").read_text()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name: "left"', 'name: "up"', r"input 'left' FP32 \[4\] -> absent; input 'up' absent -> FP32 \[4\]"),
        ("dims: [2]", "dims: [3]", r"output 'scores' FP32 \[2\] with labels -> FP32 \[3\] with labels"),
        ("TYPE_FP32\n  dims: [1]", "TYPE_FP16\n  dims: [1]", r"output 'difference' FP32 \[1\] -> FP16 \[1\]"),
        ('  label_filename: "labels.txt"\n', "", r"FP32 \[2\] with labels -> FP32 \[2\]"),
    ],
)
def test_another_interface_under_the_same_name_is_refused_and_changes_nothing(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    publish_one(tmp_path)
    assert old in CONFIG
    with pytest.raises(Conflict, match=f"{words}.*publish under a new model name"):
        publish_one(tmp_path, config=CONFIG.replace(old, new))
    assert versions(tmp_path / "sums") == [1]
    assert (tmp_path / "sums" / "config.pbtxt").read_text() == CONFIG


def test_other_classes_under_the_same_name_are_refused(tmp_path: Path) -> None:
    publish_one(tmp_path)
    with pytest.raises(Conflict, match=r"labels\.txt has other classes"):
        publish_one(tmp_path, labels="b\na\n")
    assert (tmp_path / "sums" / "labels.txt").read_text() == "a\nb\n"


def test_a_model_without_versions_has_no_clients_and_may_change(tmp_path: Path) -> None:
    folder = tmp_path / "sums"
    folder.mkdir()
    (folder / "config.pbtxt").write_text('name: "sums"\nbackend: "onnxruntime"\n')
    refuse_interface_change(folder, CONFIG, {})
    assert publish_one(tmp_path).manifest.version == 1


def test_a_config_that_cannot_be_read_stops_the_next_version(tmp_path: Path) -> None:
    publish_one(tmp_path)
    (tmp_path / "sums" / "config.pbtxt").write_text("not a config {")
    with pytest.raises(ConfigurationError, match=r"config\.pbtxt"):
        publish_one(tmp_path)
    assert versions(tmp_path / "sums") == [1]


def test_published_files_can_be_read_by_others(tmp_path: Path) -> None:
    path = publish_one(tmp_path).path
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o777 & ~umask
    assert all(file.stat().st_mode & 0o777 == 0o666 & ~umask for file in path.iterdir())


@pytest.mark.parametrize("limit", [400, 2100])
def test_a_full_disk_publishes_nothing_and_leaves_nothing(tmp_path: Path, limit: int) -> None:
    """A limit on the size of files stands in for the disk: the model does not fit, or its manifest does not."""
    publish_one(tmp_path)

    child = subprocess.run(
        [sys.executable, "-m", "tests.fakes.releases", str(tmp_path), "--file-limit", str(limit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert "File too large" in child.stderr
    assert child.returncode == 1
    assert versions(tmp_path / "sums") == [1]
    assert not (tmp_path / ".staging").exists()
    assert publish_one(tmp_path).manifest.version == 2
