"""What a ``penstock up`` that was killed leaves for some seconds: its parts, which end by themselves.

They still hold ports and locks then. Whoever starts the next one at once shall not have to start it twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import psutil

from services.core.errors import ConfigurationError
from services.process.lock import ProcessLock

PARTS = ("triton", "controller", "gateway")
PART_MODULE = "services.cli.main"
_POLL_S = 0.1


def up_lock(state_dir: Path) -> ProcessLock:
    """Return the lock that a living ``penstock up`` holds."""
    directory = state_dir.absolute()
    return ProcessLock(directory / "up.lock", f"a penstock with the state directory {directory}")


async def let_earlier_run_end(
    state_dir: Path, timeout_s: float, stop: asyncio.Event, say: Callable[[str], None]
) -> None:
    """Wait for the parts of an earlier run in a state directory, or until ``stop`` is set.

    Raises:
        ConfigurationError: An earlier ``penstock up`` lives, or its parts are not gone after ``timeout_s`` seconds.
    """
    with up_lock(state_dir):
        left = parts_left(state_dir)
        if left:
            say(f"waiting for the end of an earlier run: {_named(left)}")
        deadline = asyncio.get_running_loop().time() + timeout_s
        while left and not stop.is_set():
            if asyncio.get_running_loop().time() >= deadline:
                raise ConfigurationError(
                    f"an earlier run still uses {state_dir} after {timeout_s:g} s: {_named(left)}; end that, or choose "
                    "another --state-dir"
                )
            await asyncio.sleep(_POLL_S)
            left = parts_left(state_dir)


def parts_left(state_dir: Path) -> list[int]:
    """Return the process ids of parts, and of Tritons, that run with a state directory."""
    directory = str(state_dir.absolute())
    living = psutil.process_iter(["cmdline", "status"])
    return [
        process.pid
        for process in living
        if process.info["status"] != psutil.STATUS_ZOMBIE and _is_part(process.info["cmdline"] or [], directory)
    ]


def _is_part(command: list[str], directory: str) -> bool:
    # Also of a further replica, whose state is in a directory below.
    if any(argument.startswith(f"--backend-directory={directory}/") for argument in command):
        return True
    following = list(pairwise(command))
    ours = ("--state-dir", directory) in following or any(
        flag == "--state-dir" and value.startswith(f"{directory}/triton-") for flag, value in following
    )
    return ours and any((PART_MODULE, part) in following for part in PARTS)


def _named(numbers: list[int]) -> str:
    return f"process {', '.join(map(str, numbers))}"
