"""The Triton inside the ``nvidia-pytriton`` wheel, for machines without NGC's containers.

The wheel has the server and its Python backend, but neither an ONNX Runtime backend nor a layout that the server takes
as it is. So a backend directory is staged: the Python backend, the stub for this very Python, and our ``onnxruntime``
backend.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from services.core.errors import ConfigurationError
from services.triton.finding import Finding, require
from services.triton.installation import Launch

_OUR_BACKENDS = Path(__file__).parent / "backends"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_EXTRA = "pip install 'penstock[embedded]'"
_NUMPY_LIMIT = 2
_LIBRARY_DIRECTORIES = (Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib"), Path("/lib/x86_64-linux-gnu"))


class EmbeddedTriton:
    """A tritonserver with the wheel's layout: ``bin/``, ``backends/python/``, ``python_backend_stubs/3.x/``.

    Args:
        executable: ``.../tritonserver/bin/tritonserver``.
    """

    def __init__(self, executable: Path) -> None:
        self.executable = executable
        self._root = executable.parent.parent

    @classmethod
    def in_environment(cls) -> EmbeddedTriton | None:
        """Return the one installed beside this Python's packages, or None."""
        spec = importlib.util.find_spec("pytriton")
        if spec is None or not spec.submodule_search_locations:
            return None
        executable = Path(next(iter(spec.submodule_search_locations))) / "tritonserver" / "bin" / "tritonserver"
        return cls(executable) if executable.is_file() else None

    def findings(self) -> list[Finding]:
        """Check everything that this Triton needs; each check stands alone."""
        return [self.check_stub(), check_libpython(), check_numpy(), check_onnxruntime()]

    def check_stub(self) -> Finding:
        """Whether the wheel can run models in this version of Python."""
        name = "Triton's Python stub"
        if self._stub.is_file():
            return Finding(name, True, f"for Python {_PYTHON}")
        stubs = self._root / "python_backend_stubs"
        served = sorted((path.name for path in stubs.glob("3.*")), key=lambda version: int(version.split(".")[1]))
        return Finding(
            name,
            False,
            f"none for Python {_PYTHON}; the wheel serves {', '.join(served) or 'no version'}",
            f"make the environment with Python {served[-1] if served else '3.11'}",
        )

    def prepare(self, directory: Path) -> Launch:
        """Stage the backends and return how to start the server.

        Args:
            directory: Where to stage; what is there already and still right is used again.

        Raises:
            MissingDependency: A check failed.
            ConfigurationError: The directory cannot be written.
        """
        require(self.findings())
        try:
            staged = self._stage(directory)
        except OSError as error:
            raise ConfigurationError(
                f"cannot stage Triton's backends in {directory}: {error.strerror}; name a directory that can be written"
            ) from error
        return Launch(self.executable, staged / "backends", self._environment(staged / "lib"))

    @property
    def _stub(self) -> Path:
        return self._root / "python_backend_stubs" / _PYTHON / "triton_python_backend_stub"

    def _environment(self, libraries: Path) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONHOME", "PYTHONSTARTUP"}}
        wheel_libraries = self._root.parent.parent / "nvidia_pytriton.libs"
        environment["LD_LIBRARY_PATH"] = _joined(wheel_libraries, libraries, environment.get("LD_LIBRARY_PATH"))
        # The stub's Python finds its home through the first python3 on the path.
        environment["PATH"] = _joined(Path(sys.executable).parent, environment.get("PATH", os.defpath))
        packages = dict.fromkeys(_location_of(package) for package in ("numpy", "onnxruntime"))
        environment["PYTHONPATH"] = _joined(*packages, environment.get("PYTHONPATH"))
        return environment

    def _stage(self, directory: Path) -> Path:
        """Make the directory under a name that says what is in it, in one step: another process may do the same."""
        python_backend = self._root / "backends" / "python"
        sources = {
            "backends/python/libtriton_python.so": python_backend / "libtriton_python.so",
            "backends/python/triton_python_backend_utils.py": python_backend / "triton_python_backend_utils.py",
            "backends/python/triton_python_backend_stub": self._stub,
            "backends/onnxruntime/model.py": _OUR_BACKENDS / "onnxruntime" / "model.py",
        }
        library = find_libpython()
        staged = directory.absolute() / f"triton-{_digest([*sources.values(), library])}"
        if staged.is_dir():
            return staged
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".staging-") as temporary:
            new = Path(temporary) / "new"
            for name, source in sources.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, new / name)
            (new / "lib").mkdir()
            if library is not None:
                # A directory with this one library: its own may hold others that Triton must not meet.
                (new / "lib" / library.name).symlink_to(library)
            try:
                new.rename(staged)
            except OSError:
                if not staged.is_dir():
                    raise
        return staged


def check_libpython() -> Finding:
    """Whether the shared library of this Python is there: the stub is linked against it."""
    name = "Python's shared library"
    library = find_libpython()
    if library is not None:
        return Finding(name, True, str(library))
    return Finding(
        name,
        False,
        f"no {_libpython_name()} for {sys.executable}",
        f"apt-get install libpython{_PYTHON}, or build Python with --enable-shared",
    )


def check_numpy() -> Finding:
    """Whether NumPy is older than 2: the wheel's Python backend garbles inputs with newer ones."""
    try:
        found = importlib.metadata.version("numpy")
    except importlib.metadata.PackageNotFoundError:
        return Finding("NumPy below 2", False, "not installed", _EXTRA)
    ok = int(found.split(".")[0]) < _NUMPY_LIMIT
    return Finding("NumPy below 2", ok, f"numpy {found}", "" if ok else "pip install 'numpy<2'")


def check_onnxruntime() -> Finding:
    """Whether ONNX Runtime, which runs the models, is installed."""
    for package in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return Finding("ONNX Runtime", True, f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return Finding("ONNX Runtime", False, "not installed", _EXTRA)


def find_libpython() -> Path | None:
    """Return this Python's shared library, or None for a Python that was linked statically."""
    name = _libpython_name()
    directories = [Path(str(sysconfig.get_config_var("LIBDIR"))), Path(sys.base_prefix) / "lib"]
    multiarch = sysconfig.get_config_var("MULTIARCH")
    for directory in (*directories, Path(f"/usr/lib/{multiarch}"), *_LIBRARY_DIRECTORIES):
        if (directory / name).exists():
            return (directory / name).resolve()
    return None


def _libpython_name() -> str:
    return f"libpython{_PYTHON}.so.1.0"


def _location_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ConfigurationError(f"package {package} has metadata but no files; install it again")
    return Path(spec.origin).parent.parent


def _joined(*entries: Path | str | None) -> str:
    return os.pathsep.join(str(entry) for entry in entries if entry)


def _digest(files: list[Path | None]) -> str:
    digest = hashlib.sha256()
    for file in files:
        if file is not None:
            stat = file.stat()
            digest.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:12]
