"""What a Triton that was killed leaves on the machine, and how to know that it is ours.

Every run gets a prefix of its own for the shared memory of its Python-based models. The prefix is in the names of the
regions under ``/dev/shm``, and in the command lines of the server and of the processes that run its models. So it tells
what belongs to which run, even after the process numbers were given to somebody else.
"""

from __future__ import annotations

import json
import logging
import secrets
from pathlib import Path

import psutil

_log = logging.getLogger(__name__)
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - POSIX shared memory, not a temporary file
_PREFIX = "penstock_"


def new_prefix() -> str:
    """Return a prefix that no other run has."""
    return f"{_PREFIX}{secrets.token_hex(6)}_"


def remove_shared_memory(prefix: str, directory: Path = _SHARED_MEMORY) -> int:
    """Remove the regions of one ended run and return how many there were."""
    if not prefix.startswith(_PREFIX):
        raise ValueError(f"prefix {prefix!r} is not one of ours")
    removed = 0
    for region in directory.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)
        removed += 1
    return removed


def processes_of(prefix: str) -> list[psutil.Process]:
    """Return the living processes of one run: the server and those that run its Python-based models."""
    living = psutil.process_iter(["cmdline"])
    return [process for process in living if any(prefix in argument for argument in process.info["cmdline"] or ())]


class RunRecord:
    """The prefix of the present run on disk, so that a supervisor that was killed can be cleaned up after.

    Args:
        path: The file; written when a run starts, removed after it was cleaned up.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, prefix: str) -> None:
        """Remember the run that is about to start."""
        temporary = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"prefix": prefix}))
            temporary.replace(self._path)
        except OSError as error:
            # A full disk must not keep Triton from coming back.
            _log.error("%s cannot be written (%s): a kill now would leave shared memory behind", self._path, error)

    def read(self) -> str | None:
        """Return the prefix of a run that was not cleaned up, or None."""
        try:
            prefix = json.loads(self._path.read_bytes())["prefix"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("%s cannot be read (%s): what the last run left is not cleaned up", self._path, error)
            return None
        return prefix if isinstance(prefix, str) and prefix.startswith(_PREFIX) else None

    def clear(self) -> None:
        """Forget the run: nothing of it is left."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            _log.error("%s cannot be removed: %s", self._path, error)


def end_run(prefix: str, grace_s: float) -> None:
    """End what lives of a run and remove its shared memory. Blocks for at most about ``grace_s`` + 10 seconds.

    Only the server is given time: it may be answering still. The processes of its models are of no use without it, and
    each would wait for its word to end.
    """
    living = processes_of(prefix)
    if living:
        _log.warning("ending %d processes of an earlier run: %s", len(living), [process.pid for process in living])
    servers = [process for process in living if _is_server(process)]
    _signal_all(servers, kill=False)
    _, stubborn = psutil.wait_procs(servers, timeout=grace_s)
    _signal_all(stubborn, kill=True)
    psutil.wait_procs(stubborn, timeout=5.0)
    helpers = processes_of(prefix)
    _signal_all(helpers, kill=True)
    psutil.wait_procs(helpers, timeout=5.0)
    removed = remove_shared_memory(prefix)
    if removed:
        _log.warning("removed %d shared memory regions of an earlier run", removed)


def _is_server(process: psutil.Process) -> bool:
    # A model's process has the prefix in the name of its region; the server was told it as a setting.
    return any(argument.startswith("--backend-config=") for argument in process.info["cmdline"] or ())


def _signal_all(processes: list[psutil.Process], *, kill: bool) -> None:
    for process in processes:
        try:
            # psutil compares the creation time: a number that was given away is not signalled.
            process.kill() if kill else process.terminate()
        except psutil.NoSuchProcess:
            continue
