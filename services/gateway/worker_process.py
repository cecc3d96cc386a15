"""A worker as its parent sees it: a supervised process, with a name and a slab of its own in each of its lives."""

from __future__ import annotations

import socket
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

from services.gateway.metrics.merged import MergedSlabs
from services.gateway.metrics.slab import SlabReader, WorkerState, create_slab_file
from services.gateway.settings import WorkerSettings
from services.process.backoff import Backoff
from services.process.child import ChildProcess
from services.process.supervised import Supervised
from services.triton.shared_memory.arena import remove_abandoned

# Short, because connections wait in the slot's socket meanwhile.
_LONGEST_PAUSE_S = 2.0


class WorkerProcess:
    """One worker.

    Args:
        number: Its place among the workers, for its name.
        listeners: Its listening sockets, HTTP and gRPC; they belong to the caller.
        settings: Gives what a life with this instance name and this slab is told.
        slab_dir: Where slabs are made.
        slab_bytes: Size of a slab.
        slabs: Where its counts are added up.
        grace_s: Longest time from SIGTERM to its end.
    """

    def __init__(
        self,
        number: int,
        *,
        listeners: tuple[socket.socket, socket.socket],
        settings: Callable[[str, Path], WorkerSettings],
        slab_dir: Path,
        slab_bytes: int,
        slabs: MergedSlabs,
        grace_s: float,
    ) -> None:
        self._number = number
        self._listeners = listeners
        self._settings = settings
        self._slab_dir = slab_dir
        self._slab_bytes = slab_bytes
        self._slabs = slabs
        self._instance = ""
        self._reader: SlabReader | None = None
        self.supervised = Supervised(
            f"gateway worker {number}",
            self._spawn,
            on_exit=self._retire,
            backoff=Backoff(first_s=0.1, most_s=_LONGEST_PAUSE_S),
            grace_s=grace_s,
        )

    def is_listening(self) -> bool:
        """Whether its present process takes requests."""
        return self._reader is not None and self._reader.state is WorkerState.LISTENING

    def is_draining(self) -> bool:
        """Whether its present process is on its way out."""
        return self._reader is not None and self._reader.state is WorkerState.DRAINING

    def room_used(self) -> float:
        """Return the share of the room for counters that its present process has used, from 0 to 1."""
        return 0.0 if self._reader is None else self._reader.room_used

    def _spawn(self) -> ChildProcess:
        self._instance = f"{socket.gethostname()}-{self._number}-{uuid.uuid4().hex[:12]}"
        slab = self._slab_path()
        create_slab_file(slab, self._slab_bytes)
        self._reader = SlabReader(slab)
        self._slabs.add(self._instance, self._reader)
        argument = self._settings(self._instance, slab).to_argument()
        return ChildProcess(
            [sys.executable, "-m", "services.gateway.worker", argument],
            pass_fds=[listener.fileno() for listener in self._listeners],
        )

    async def _retire(self, _status: int) -> None:
        self._reader = None
        self._slabs.retire(self._instance)
        self._slab_path().unlink(missing_ok=True)
        remove_abandoned()

    def _slab_path(self) -> Path:
        return self._slab_dir / f"{self._instance}.slab"
