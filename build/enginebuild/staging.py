"""Where a version is put together: a folder of its own beside the models, on the same filesystem, gone afterwards.

A build that is killed leaves its folder behind. The lock that the kernel took back from it says so, and the next build
clears it away: no process id to be reused, no age to be guessed.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from enginebuild.lock import exclusive, try_lock

STAGING = ".staging"

_LOCK = ".lock"
_CLAIM_TIMEOUT_S = 30.0


@contextmanager
def claim(repository: Path) -> Iterator[Path]:
    """Make a staging folder, after clearing away those of dead builds; it is removed at the end, whatever happens.

    Raises:
        Conflict: Another build held the staging lock for 30 s.
        OSError: The repository cannot be written.
    """
    root = repository / STAGING
    root.mkdir(parents=True, exist_ok=True)
    folder = root / uuid.uuid4().hex
    with exclusive(root / _LOCK, _CLAIM_TIMEOUT_S):  # nobody sweeps between the making of a folder and its locking
        _sweep(root)
        folder.mkdir()
        held = try_lock(folder / _LOCK)
    try:
        yield folder
    finally:
        if held is not None:
            os.close(held)
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path) -> None:
    for folder in root.iterdir():
        if not folder.is_dir():
            continue
        held = try_lock(folder / _LOCK)
        if held is not None:
            os.close(held)
            shutil.rmtree(folder, ignore_errors=True)
