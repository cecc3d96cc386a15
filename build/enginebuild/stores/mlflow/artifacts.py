"""The files of one run or version in MLflow: listed within bounds, copied one by one, measured when they arrive."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Any

from services.core.errors import ConfigurationError, IntegrityError

_MOST_FILES = 1000


class MlflowArtifacts:
    """The files below one URI.

    Args:
        repository: MLflow's artifact repository of that URI.
        errors: Turns the client's errors into ours.
    """

    def __init__(self, repository: Any, errors: Callable[[str], AbstractContextManager[None]]) -> None:
        self._repository, self._errors = repository, errors

    def files(self) -> Mapping[str, int]:
        """Return the size of every file in bytes, by its path.

        Raises:
            ConfigurationError: A path leads out of the folder, or there are too many.
            IntegrityError: A file has no size.
        """
        found: dict[str, int] = {}
        folders = [""]
        for folder in folders:
            with self._errors(f"artifacts in '{folder}'"):
                listed = self._repository.list_artifacts(folder or None)
            for item in listed:
                path = _inside(item.path, folder)
                if item.is_dir:
                    folders.append(path)
                elif item.file_size is None or item.file_size < 0:
                    raise IntegrityError(f"MLflow gives no size for the artifact '{path}'")
                else:
                    found[path] = item.file_size
                if len(found) + len(folders) > _MOST_FILES:
                    raise ConfigurationError(f"MLflow lists more than {_MOST_FILES:,} artifacts: this is no version")
        return found

    def fetch(self, path: str, size: int, target: Path) -> None:
        """Copy one file to ``target``, which is not there yet.

        Args:
            path: Its path, as ``files`` gave it.
            size: Its size, as ``files`` gave it.
            target: Where to put it; its folder is made.

        Raises:
            IntegrityError: What arrived has another size; also errors as in ``files``.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            with self._errors(f"artifact '{path}'"):
                arrived = Path(self._repository.download_artifacts(path, work))
            if arrived.is_symlink() or not arrived.is_file():
                raise IntegrityError(f"the artifact '{path}' is no file")
            if arrived.stat().st_size != size:
                raise IntegrityError(
                    f"the artifact '{path}' arrived with {arrived.stat().st_size:,} bytes; MLflow lists {size:,}"
                )
            arrived.rename(target)

    def store(self, source: Path, path: str) -> None:
        """Copy a file there, under a path whose last part is the file's name."""
        with self._errors(f"artifact '{path}'"):
            self._repository.log_artifact(str(source), posixpath.dirname(path) or None)


def _inside(path: str, folder: str) -> str:
    """Return the path of a listed file, when it lies directly in the folder that was listed.

    Raises:
        ConfigurationError: It lies somewhere else.
    """
    parts = PurePosixPath(path)
    if parts.as_posix() != path or path.startswith("/") or ".." in parts.parts or "\\" in path:
        raise ConfigurationError(f"MLflow lists an artifact '{path}' that leads out of its folder")
    if posixpath.dirname(path) != folder:
        raise ConfigurationError(f"MLflow lists '{path}' among the artifacts in '{folder}'")
    return path
