"""A missing checkpoint is trained; a training that fails leaves none."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from enginebuild.recipecode import RecipeCode
from enginebuild.training import ensure_checkpoint

from services.core.errors import BuildFailed, ConfigurationError, PenstockError
from tests.fakes import tiny_recipe

ROOT = Path(__file__).parents[3]

WRITE_SEED = """
import sys
from pathlib import Path
output, seed = sys.argv[sys.argv.index("--output") + 1], sys.argv[sys.argv.index("--seed") + 1]
Path(output).write_text(seed)
"""


def ensure(folder: Path, *, retrain: bool = False, **changes: Any) -> tuple[str, list[str]]:
    said: list[str] = []
    staging = folder.parent / "staging"
    staging.mkdir(exist_ok=True)
    with RecipeCode(folder) as code:
        recipe = tiny_recipe.recipe(**changes)
        assert recipe.checkpoint is not None
        path = ensure_checkpoint(recipe.checkpoint, code, staging, seed=recipe.seed, retrain=retrain, say=said.append)
    assert path == folder / "checkpoint.safetensors"
    return path.read_text(), said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "recipe"
    tiny_recipe.write(folder)
    (folder / "train.py").write_text(WRITE_SEED)
    return folder


def test_a_missing_checkpoint_is_trained_with_the_recipes_seed_and_said_so(folder: Path) -> None:
    assert ensure(folder, seed=41) == ("41", ["no checkpoint.safetensors yet: training with train.py (seed 41)"])


def test_an_existing_checkpoint_is_used_as_it_is_unless_training_is_demanded(folder: Path) -> None:
    (folder / "checkpoint.safetensors").write_text("old")
    assert ensure(folder) == ("old", [])
    assert ensure(folder, retrain=True)[0] == "3"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("print('no data here'); raise SystemExit(3)", "train.py failed with exit code 3: no data here"),
        ("import no_such_package", "No module named 'no_such_package'"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "exit code -9: no output"),
        ("pass", "wrote nothing to the path given as --output"),
        (WRITE_SEED + "\nraise ValueError('diverged')", "ValueError: diverged"),
    ],
)
@pytest.mark.parametrize("retrain", [False, True])
def test_a_training_that_fails_is_told_and_keeps_what_was_there(
    folder: Path, script: str, words: str, retrain: bool
) -> None:
    (folder / "train.py").write_text(script)
    checkpoint = folder / "checkpoint.safetensors"
    if retrain:
        checkpoint.write_text("old")
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(BuildFailed, match=words):
        ensure(folder, retrain=retrain)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert not retrain or checkpoint.read_text() == "old"


def test_a_training_that_does_not_end_is_ended(folder: Path) -> None:
    (folder / "train.py").write_text("import time; time.sleep(600)")
    limited = {"file": "checkpoint.safetensors", "trained_by": "train.py", "timeout_s": 0.3}
    with pytest.raises(BuildFailed, match=r"had not finished after 0\.3 s"):
        ensure(folder, checkpoint=limited)


@pytest.mark.parametrize(
    ("checkpoint", "retrain", "words"),
    [
        ({"file": "checkpoint.safetensors"}, False, "does not exist, and the recipe has no checkpoint.trained_by"),
        ({"file": "checkpoint.safetensors"}, True, "--retrain was given, but the recipe has no"),
        ({"file": "checkpoint.safetensors", "trained_by": "absent.py"}, False, "there is no .*absent.py"),
    ],
)
def test_what_cannot_be_trained_is_a_mistake_of_the_recipe(
    folder: Path, checkpoint: dict[str, Any], retrain: bool, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        ensure(folder, retrain=retrain, checkpoint=checkpoint)
    assert isinstance(caught.value, PenstockError)


def test_a_training_does_not_outlive_a_build_that_is_killed(folder: Path) -> None:
    started = folder.parent / "started"
    (folder / "train.py").write_text(
        "import os, time\nfrom pathlib import Path\n"
        f"Path({str(started)!r} + '.new').write_text(str(os.getpid()))\n"
        f"os.rename({str(started)!r} + '.new', {str(started)!r})\ntime.sleep(600)\n"
    )
    command = [sys.executable, "-m", "services.cli.main", "build", str(folder / "recipe.yaml")]
    with subprocess.Popen([*command, "--repository", str(folder.parent / "r")], cwd=ROOT) as build:
        wait_for(started.exists)
        build.kill()
    wait_for(lambda: gone(int(started.read_text())))


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
