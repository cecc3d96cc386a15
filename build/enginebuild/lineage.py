"""Where a version comes from: the recipe's digest, the commit of its folder, the versions of everything involved."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from enginebuild.recipe.metrics import Custom
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.references import split_function
from enginebuild.recipecode import RecipeCode

_PACKAGES = ("penstock", "numpy", "onnx", "onnxruntime", "onnxscript", "safetensors", "torch", "torch_pruning")
_GIT_TIMEOUT_S = 10.0


def libraries() -> dict[str, str]:
    """Return the versions of Python, the machine and the packages that take part in a build."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def recipe_digest(recipe: Recipe, code: RecipeCode) -> str:
    """Return a digest over the recipe and the files that it names, except the checkpoint, which has its own."""
    named = [recipe.network.factory, recipe.data.evaluation, recipe.data.calibration]
    named += [metric.function for metric in recipe.metrics if isinstance(metric, Custom)]
    named += [recipe.compression.fine_tune] if recipe.compression is not None else []
    named += [variant.student.factory for variant in recipe.variants if variant.student is not None]
    files = {split_function(reference)[0] for reference in named if reference}
    files = {file for file in files if file.endswith(".py")}  # of an installed package the version is on record
    files |= {output.labels for output in recipe.outputs if output.labels}
    if recipe.checkpoint is not None and recipe.checkpoint.trained_by:
        files.add(recipe.checkpoint.trained_by)
    digest = hashlib.sha256(recipe.model_dump_json().encode())
    for file in sorted(files):
        path = code.path(file)
        digest.update(f"\0{file}\0".encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def commit_of(folder: Path) -> str | None:
    """Return the git commit that a folder is at, ``-dirty`` behind it where files in it differ; None outside git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return f"{commit}-dirty" if _git(folder, "status", "--porcelain", "--", ".") else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None  # no git, no commit: the manifest says null
    return done.stdout.strip() if done.returncode == 0 else None
