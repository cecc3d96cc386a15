"""Whatever kills a build, and however many run at once: every version that is there is whole, with its own number."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from enginebuild.config_pbtxt import interface_of, parse
from enginebuild.pipeline import Order, build
from enginebuild.publish import versions
from enginebuild.staging import STAGING, claim

from services.triton.layout import RepositoryLayout
from services.triton.published import faults_of, file_faults, required_manifest
from services.triton.trust import Trust
from tests.fakes import tiny_recipe
from tests.fakes.signing_keys import write_keys

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
LINES_PER_VERSION = 3  # what publish says of each
INTERFACE = interface_of(parse(tiny_recipe.config_pbtxt()))


def publisher(repository: Path, count: int, killed_at: int = 0, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.releases", str(repository), str(count), str(killed_at), *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def expect_whole(repository: Path, *, after_kill: bool = False) -> list[int]:
    """Every published version is as its manifest says, and nothing but the model's own files lies beside them.

    A build that was killed may have brought config.pbtxt up to date for the version that it then did not publish.
    """
    found = versions(repository / "sums")
    layout = RepositoryLayout(repository)
    for version in found:
        manifest = required_manifest(layout, "sums", version)
        assert file_faults(layout.version_directory("sums", version), manifest) == []
        assert interface_of(layout.config("sums")) == INTERFACE
        assert after_kill or faults_of(layout, manifest) == []
    others = {path.name for path in (repository / "sums").iterdir()} - {str(version) for version in found}
    assert others <= {"config.pbtxt", "labels.txt", ".lock"}
    return found


@pytest.mark.parametrize("killed_at", range(1, 2 * LINES_PER_VERSION + 1))
def test_a_publish_killed_at_any_stage_leaves_whole_versions_and_the_next_goes_on(
    tmp_path: Path, killed_at: int
) -> None:
    child = publisher(tmp_path, 2, killed_at)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    published = killed_at // LINES_PER_VERSION
    assert versions(tmp_path / "sums") == list(range(1, published + 1))
    expect_whole(tmp_path, after_kill=True)
    assert list((tmp_path / STAGING).iterdir()), "the killed build left its folder behind"

    again = publisher(tmp_path, 1)
    assert again.communicate(timeout=60)[1] == ""
    assert expect_whole(tmp_path) == list(range(1, published + 2))
    assert not (tmp_path / STAGING).exists()


@pytest.mark.parametrize("killed_at", range(1, LINES_PER_VERSION + 2))
def test_a_signed_publish_killed_at_any_stage_leaves_no_version_or_a_signed_one(tmp_path: Path, killed_at: int) -> None:
    private, public = write_keys(tmp_path / "keys")
    repository = tmp_path / "repository"
    child = publisher(repository, 1, killed_at, "--sign-key", str(private))
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    again = publisher(repository, 1, 0, "--sign-key", str(private))
    assert again.communicate(timeout=60)[1] == ""
    found = expect_whole(repository)
    assert found == ([1, 2] if killed_at == LINES_PER_VERSION + 1 else [1])
    for version in found:
        Trust(RepositoryLayout(repository), public).check("sums", version)


def test_publishes_killed_at_random_times_leave_whole_versions(tmp_path: Path) -> None:
    moments = random.Random(0)
    for _ in range(5):
        child = publisher(tmp_path, 10_000)
        assert child.stdout is not None
        assert child.stdout.readline()  # it is at work
        time.sleep(moments.uniform(0, 0.05))
        child.kill()
        child.communicate(timeout=60)
        expect_whole(tmp_path, after_kill=True)
    found = versions(tmp_path / "sums")
    assert found == list(range(1, len(found) + 1))
    with claim(tmp_path) as folder:
        assert list((tmp_path / STAGING).iterdir()) == [folder]


def test_two_builds_at_once_get_different_versions_and_none_is_lost(tmp_path: Path) -> None:
    children = [publisher(tmp_path, 10) for _ in range(3)]
    for child in children:
        assert child.communicate(timeout=120)[1] == ""
    assert expect_whole(tmp_path) == list(range(1, 31))
    assert not (tmp_path / STAGING).exists()


@pytest.mark.parametrize("line", ["training", "exporting", "claimed"])
def test_a_whole_build_killed_on_its_way_publishes_nothing_and_the_next_one_does(tmp_path: Path, line: str) -> None:
    recipe, repository = tiny_recipe.write(tmp_path / "recipe"), tmp_path / "repository"
    command = [sys.executable, "-m", "services.cli.main", "build", str(recipe), "--repository", str(repository)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert child.stdout is not None
    assert any(line in text for text in child.stdout), "the build ended before it could be killed"
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate(timeout=60)
    if line != "claimed":  # there the rename may have been faster than the signal
        assert versions(repository / "sums") == []
    before = versions(repository / "sums")

    build(tiny_recipe.recipe(), recipe.parent, Order(repository, "2026-11-20T10:00:00+00:00"), lambda text: None)
    assert expect_whole(repository) == [*before, len(before) + 1]
    assert not (repository / STAGING).exists()
    assert sorted(path.name for path in recipe.parent.iterdir() if path.name != "__pycache__") == [
        "checkpoint.safetensors",
        "data.py",
        "labels.txt",
        "model.py",
        "recipe.yaml",
        "train.py",
    ]
