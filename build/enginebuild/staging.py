"""Where a version is put together: a folder of its own beside the models, on the same filesystem, gone afterwards.

A build that is killed leaves its folder behind. The lock that the kernel took back from it says so, and the next build
clears it away: no process id to be reused, no age to be guessed. The staging area goes with its last folder, because a
Triton that loads every folder of a repository would take it for a model.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from enginebuild.lock import exclusive, try_lock

STAGING = ".staging"
STAGING_LOCK = ".staging.lock"

_LOCK = ".lock"
_TIMEOUT_S = 30.0


@contextmanager
def claim(repository: Path) -> Iterator[Path]:
    """Make a staging folder, after clearing away those of dead builds; it is removed at the end, whatever happens.

    Raises:
        Conflict: Another build held the staging lock for 30 s.
        OSError: The repository cannot be written.
    """
    repository.mkdir(parents=True, exist_ok=True)
    root = repository / STAGING
    folder = root / uuid.uuid4().hex
    with exclusive(repository / STAGING_LOCK, _TIMEOUT_S):  # nobody sweeps between making a folder and locking it
        root.mkdir(exist_ok=True)
        _sweep(root)
        folder.mkdir()
        held = try_lock(folder / _LOCK)
    try:
        yield folder
    finally:
        if held is not None:
            os.close(held)
        with exclusive(repository / STAGING_LOCK, _TIMEOUT_S):
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # other builds have folders in it
                root.rmdir()


def _sweep(root: Path) -> None:
    for folder in root.iterdir():
        if not folder.is_dir():
            folder.unlink()
            continue
        held = try_lock(folder / _LOCK)
        if held is not None:
            os.close(held)
            shutil.rmtree(folder, ignore_errors=True)
