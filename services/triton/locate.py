"""Finding a Triton: the one that a setting names, NGC's, or the one in the ``nvidia-pytriton`` wheel."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from services.core.errors import ConfigurationError, MissingDependency
from services.triton.embedded import EmbeddedTriton
from services.triton.finding import Finding
from services.triton.installation import TritonInstallation
from services.triton.native import NativeTriton

NGC = Path("/opt/tritonserver/bin/tritonserver")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - POSIX shared memory, not a temporary file
_SHARED_MEMORY_LEAST_BYTES = 32 * 1024 * 1024
_REMEDY = "pip install 'penstock[embedded]', or run in NGC's tritonserver image, or name one with triton.executable"


def locate(executable: Path | None = None) -> TritonInstallation:
    """Return the Triton to use; whether it can start is for its ``findings`` to say.

    Args:
        executable: The ``tritonserver`` that a setting names, or None to look for one.

    Raises:
        ConfigurationError: The setting names no program.
        MissingDependency: There is none.
    """
    if executable is not None:
        if not executable.is_file():
            raise ConfigurationError(f"no tritonserver at {executable}; correct triton.executable or leave it out")
        return _by_layout(executable.absolute())
    if NGC.is_file():
        return NativeTriton(NGC)
    embedded = EmbeddedTriton.in_environment()
    if embedded is not None:
        return embedded
    on_path = shutil.which("tritonserver")
    if on_path is not None:
        return _by_layout(Path(on_path).resolve())
    raise MissingDependency("no tritonserver on this machine", remedy=_REMEDY)


def diagnose(executable: Path | None = None) -> list[Finding]:
    """Check what running a Triton here needs, and report everything rather than the first thing that is missing."""
    try:
        installation = locate(executable)
    except MissingDependency as error:
        return [Finding("Triton", False, str(error), error.remedy), check_shared_memory()]
    except ConfigurationError as error:
        return [Finding("Triton", False, str(error), "correct triton.executable"), check_shared_memory()]
    found = Finding("Triton", True, str(installation.executable))
    return [found, *installation.findings(), check_shared_memory()]


def check_shared_memory(directory: Path = _SHARED_MEMORY) -> Finding:
    """Whether there is shared memory: every model instance of a Python-based backend takes 1 MiB and more."""
    name = "shared memory"
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        return Finding(name, False, f"{directory}: {error.strerror}", "mount a tmpfs there")
    if not os.access(directory, os.W_OK):
        return Finding(name, False, f"{directory} cannot be written", f"chmod 1777 {directory}")
    mebibytes = free // (1024 * 1024)
    if free < _SHARED_MEMORY_LEAST_BYTES:
        remedy = "remove what fills it, or give the container more, such as docker run --shm-size=256m"
        return Finding(name, False, f"{mebibytes} MiB free in {directory}", remedy)
    return Finding(name, True, f"{mebibytes} MiB free in {directory}")


def _by_layout(executable: Path) -> TritonInstallation:
    root = executable.parent.parent
    if (root / "python_backend_stubs").is_dir() and not (root / "backends" / "onnxruntime").is_dir():
        return EmbeddedTriton(executable)
    return NativeTriton(executable)
