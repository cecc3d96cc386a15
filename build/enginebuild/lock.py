"""A lock between processes that the kernel gives back when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.core.errors import Conflict

_POLL_S = 0.02


def try_lock(path: Path) -> int | None:
    """Lock a file, made where it is missing; return its descriptor, or None where another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise
    return descriptor


@contextmanager
def exclusive(path: Path, timeout_s: float) -> Iterator[int]:
    """Hold a file's lock; yields its descriptor.

    Raises:
        Conflict: Another process held it all the time.
    """
    deadline = time.monotonic() + timeout_s
    while (descriptor := try_lock(path)) is None:
        if time.monotonic() >= deadline:
            raise Conflict(f"{path}: another build has held this lock for {timeout_s:g} s; wait for it, or end it")
        time.sleep(_POLL_S)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
