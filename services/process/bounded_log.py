"""A log file that a child process appends to and that never grows beyond a bound."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import BinaryIO

_TAIL_BYTES = 8192


class BoundedLog:
    """One log file and one older one beside it (``<name>.1``).

    The child writes to the file itself, so a stalled parent never stalls the child; the parent calls ``trim`` at times.

    Args:
        path: The file; its directory is made.
        max_bytes: Size at which the content moves to the older file.
    """

    def __init__(self, path: Path, max_bytes: int = 16 * 1024 * 1024) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._older = path.with_name(path.name + ".1")

    def open(self) -> BinaryIO:
        """Open for a child to append to; the caller closes its copy after the child has started."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.path.open("ab")

    def trim(self) -> bool:
        """Move the content away if it is too large, and say whether it was.

        Copy and truncate: the child appends (O_APPEND), so it goes on at the new end. Lines written between the two
        steps are lost; a log that has just passed its bound can spare them.
        """
        try:
            if self.path.stat().st_size <= self._max_bytes:
                return False
        except FileNotFoundError:
            return False
        shutil.copyfile(self.path, self._older)
        with self.path.open("r+b") as file:
            file.truncate(0)
        return True

    def tail(self, lines: int = 20) -> str:
        """Return the last lines, for an error message; empty where there is no file."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - _TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])
