"""What this machine has and lacks: the checks behind ``penstock doctor``, which ``up`` and ``demo`` require first."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from services.cli.settings import Settings, listening
from services.core.errors import ConfigurationError, PenstockError
from services.process.ports import ensure_free
from services.triton import finding
from services.triton.finding import Finding
from services.triton.layout import RepositoryLayout
from services.triton.locate import diagnose

_PYTHON = (3, 11)

# Extra -> packages by import name; each extra is needed for the verbs that are named.
_EXTRAS = {
    "build": (("torch", "onnx", "onnxruntime", "safetensors"), "penstock build, penstock demo"),
    "loadtest": (("locust",), "penstock loadtest, penstock demo"),
    "stores": (("obstore",), "penstock models push and pull"),
    "mlflow": (("mlflow",), "models and checkpoints in MLflow's registry"),
}


def require(settings: Settings, extras: Iterable[str] = ()) -> None:
    """Check what serving on this machine needs.

    Args:
        settings: What shall run.
        extras: Extras whose packages are needed too.

    Raises:
        MissingDependency: Something is missing; it says what, and the remedy.
        ConfigurationError: The state directory cannot be written.
    """
    state = check_state_directory(settings.state_dir)
    if not state.ok:
        raise ConfigurationError(f"{state.name}: {state.detail}; {state.remedy}")
    finding.require(diagnose(settings.triton.executable))
    finding.require(check_extra(name) for name in extras)


def examine(settings: Settings) -> tuple[list[Finding], list[Finding]]:
    """Return what ``penstock up`` needs, and what is needed beyond that."""
    needed = [
        check_python(),
        *diagnose(settings.triton.executable),
        check_state_directory(settings.state_dir),
        *check_ports(settings),
    ]
    optional = [
        check_repository(settings.repository),
        *(check_extra(name) for name in _EXTRAS),
        check_program("h2load", "nghttp2-client", "make bench"),
    ]
    return needed, optional


def check_python() -> Finding:
    """Whether this Python is new enough."""
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        "Python", sys.version_info >= _PYTHON, found, "use Python 3.11 or newer: make PYTHON=python3.11 install"
    )


def check_state_directory(directory: Path) -> Finding:
    """Whether the state directory is there, or can be made, and written."""
    name = "state directory"
    existing = next((path for path in (directory, *directory.absolute().parents) if path.exists()), Path("/"))
    try:
        # Tried, not asked: a read-only file system and root's permissions make the mode bits say nothing.
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        detail = f"{directory} cannot be written ({existing}: {error.strerror})"
        return Finding(name, False, detail, "choose another with --state-dir")
    return Finding(name, True, str(directory))


def check_repository(directory: Path) -> Finding:
    """Whether there is a repository with a published version."""
    name, remedy = "model repository", "penstock build build/recipes/digits_cnn/recipe.yaml"
    if not directory.is_dir():
        return Finding(name, False, f"{directory} is not a directory", f"{remedy} --repository {directory}")
    layout = RepositoryLayout(directory)
    published: list[str] = []
    for model in layout.models():
        try:
            published += [f"{model} {version}" for version in layout.versions(model)[-1:]]
        except (PenstockError, OSError) as error:
            return Finding(name, False, str(error), f"mend it, or move {directory / model} away")
    if not published:
        return Finding(name, False, f"{directory} has no published version", remedy)
    return Finding(name, True, f"{directory}: {', '.join(published)}")


def check_ports(settings: Settings) -> list[Finding]:
    """Whether each port of the settings can be listened on."""
    return [_port(name, host, port) for name, (host, port) in listening(settings).items()]


def check_extra(name: str) -> Finding:
    """Whether the packages of an extra are installed."""
    packages, verbs = _EXTRAS[name]
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        detail = f"{', '.join(missing)} not installed (for {verbs})"
        return Finding(f"extra '{name}'", False, detail, f"pip install 'penstock[{name}]'")
    return Finding(f"extra '{name}'", True, f"installed (for {verbs})")


def check_program(program: str, package: str, purpose: str) -> Finding:
    """Whether an optional program is on the path."""
    path = shutil.which(program)
    if path is None:
        return Finding(program, False, f"not installed (for {purpose})", f"apt-get install {package}")
    return Finding(program, True, f"{path} (for {purpose})")


def _port(name: str, host: str, port: int) -> Finding:
    try:
        ensure_free(host, port, name)
    except ConfigurationError as error:
        words, _, remedy = error.message.partition("; ")
        return Finding(name, False, words, remedy)
    return Finding(name, True, f"{host}:{port} is free" if port else "chosen at the start")
