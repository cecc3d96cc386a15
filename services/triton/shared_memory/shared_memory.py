"""What a worker has to share memory with: its arena, and for each Triton on this machine a region."""

from __future__ import annotations

import ipaddress
import time

from services.triton.shared_memory.arena import Arena
from services.triton.shared_memory.region import Ask, Region
from services.triton.shared_memory.settings import SharedMemorySettings


class SharedMemory:
    """Makes regions of one arena.

    Args:
        name: Whose it is; unique.
        settings: Bounds.
    """

    def __init__(self, name: str, settings: SharedMemorySettings) -> None:
        self._settings = settings
        self._arena = Arena(name, settings.max_bytes, settings.rest_s, time.monotonic)

    @property
    def held_bytes(self) -> int:
        """Bytes of requests that are in it now."""
        return self._arena.held_bytes

    def region(self, host: str, ask: Ask) -> Region | None:
        """Return what shares the memory with the Triton of a host; None for one on another machine."""
        if not self._settings.enabled or not is_local(host):
            return None
        return Region(self._arena, ask, self._settings)

    def close(self) -> None:
        """Remove the memory's file."""
        self._arena.close()


def is_local(host: str) -> bool:
    """Whether a host is this machine, by a loopback address or the name of one."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
