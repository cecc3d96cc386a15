"""How much memory this container or machine has, and how much is left: the tightest limit above this process.

Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html#memory and, for version 1,
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html. Within a container the group's own files are at the root of
the mount, whatever ``/proc/self/cgroup`` says, so the root is looked at as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

from services.core.memory.report import Space

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def host_space(groups: Path = _GROUPS, own: Path = _OWN) -> Space:
    """Return the memory that processes of this container share.

    Args:
        groups: Where control groups are mounted.
        own: Says which of them this process is in.
    """
    machine = psutil.virtual_memory()
    found = Space(machine.total, machine.available)
    for limit, used in _limits(groups, own):
        if limit < machine.total:
            left = max(0, limit - used)
            found = Space(min(found.total_bytes, limit), min(found.available_bytes, left))
    return found


def _limits(groups: Path, own: Path) -> Iterator[tuple[int, int]]:
    """Yield limit and use, bytes, of every group with a limit that this process is in."""
    for folder, limit_name, used_name, cache_name in _folders(groups, own):
        try:
            limit, used = int((folder / limit_name).read_text()), int((folder / used_name).read_text())
            yield limit, used - _cache(folder, cache_name)
        except (OSError, ValueError):
            continue  # no such file, or "max": no limit here


def _folders(groups: Path, own: Path) -> Iterator[tuple[Path, str, str, str]]:
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        root = groups / "memory"
        if not controllers:
            root, files = groups, ("memory.max", "memory.current", "inactive_file")
        folder = root / path.strip("/")
        for place in dict.fromkeys((folder, *folder.parents)):
            if place.is_relative_to(root):
                yield place, *files


def _cache(folder: Path, name: str) -> int:
    """Return how much of a group's use the kernel gives back when it is asked for: files that nobody reads now."""
    for line in (folder / "memory.stat").read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
