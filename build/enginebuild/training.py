"""Training, where the recipe's checkpoint is missing: the recipe's script runs as a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

from enginebuild.recipe.sources import Checkpoint
from enginebuild.recipecode import RecipeCode
from services.core.errors import BuildFailed, ConfigurationError

_SHOWN_LINES = 3


def ensure_checkpoint(
    checkpoint: Checkpoint, code: RecipeCode, staging: Path, *, seed: int, retrain: bool, say: Callable[[str], None]
) -> Path:
    """Return the recipe's checkpoint file, trained first where it is missing or where that is demanded.

    Raises:
        ConfigurationError: The recipe names no file, or it is missing and the recipe does not say what trains it.
        BuildFailed: The training failed or took too long.
    """
    if checkpoint.file is None:
        raise ConfigurationError("checkpoint.file is missing")
    path = code.path(checkpoint.file)
    script = checkpoint.trained_by
    if path.is_file() and not retrain:
        return path
    if script is None:
        what = "--retrain was given, but" if retrain else f"checkpoint {path} does not exist, and"
        raise ConfigurationError(f"{what} the recipe has no checkpoint.trained_by: name a script, or give --checkpoint")
    program = code.path(script)
    if not program.is_file():
        raise ConfigurationError(f"checkpoint.trained_by: there is no {program}")
    say(f"{'--retrain' if path.is_file() else f'no {path.name} yet'}: training with {script} (seed {seed})")
    arguments = ["--output", str((staging / path.name).absolute()), "--seed", str(seed)]
    _train(program, arguments, checkpoint.timeout_s, staging / "training.log")
    if not (staging / path.name).is_file():
        raise BuildFailed(f"{program.name} ended well but wrote nothing to the path given as --output")
    # The staging folder may lie on another filesystem: copy next to the goal, then replace it in one step.
    beside = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        shutil.copyfile(staging / path.name, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def _train(program: Path, arguments: list[str], timeout_s: float, log: Path) -> None:
    runner = [sys.executable, "-m", "enginebuild.run_script", str(os.getpid())]
    # Absolute, because the script runs in the recipe's folder and the caller may have named everything from elsewhere.
    command = [*runner, str(program.absolute()), *arguments]
    with log.open("wb") as sink:
        try:
            done = subprocess.run(
                command,
                cwd=program.parent,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BuildFailed(
                f"{program.name} had not finished after {timeout_s:g} s (checkpoint.timeout_s)"
            ) from error
    if done.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_SHOWN_LINES:]
        raise BuildFailed(f"{program.name} failed with exit code {done.returncode}: {' | '.join(lines) or 'no output'}")
