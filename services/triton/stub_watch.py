"""The processes that run Python-based models, children of Triton: which model version each belongs to, and which died.

When one of them dies, Triton 2.51 neither starts another nor says so: its version stays READY, and every request to it
fails until it is loaded again. What tells is the process itself: Triton collects the exit status of a child only while
it unloads its model, so one that died by itself stays behind as a zombie.
"""

from __future__ import annotations

import logging
from pathlib import Path

import psutil

_log = logging.getLogger(__name__)
# The kernel keeps 15 characters of a name, and of a zombie nothing else.
_NAME = "triton_python_backend_stub"[:15]

ModelVersion = tuple[str, int]


class StubWatch:
    """Looks at the children of one Triton.

    Args:
        server_pid: Process id of the Triton.
        root: Its model repository, as it was told it.
    """

    def __init__(self, server_pid: int, root: Path) -> None:
        self._server_pid = server_pid
        self._root = root
        self._known: dict[int, ModelVersion] = {}
        self.living: frozenset[ModelVersion] = frozenset()
        self.strangers = 0

    def dead(self) -> frozenset[ModelVersion]:
        """Look now, and return the versions of which a process died and was not collected.

        Afterwards ``living`` has the versions with at least one living process, and ``strangers`` the number of dead
        ones that lived too short to be seen, so that nobody knows whose they were.
        """
        living: dict[int, ModelVersion] = {}
        dead: set[ModelVersion] = set()
        self.strangers = 0
        for process in self._children():
            try:
                if not process.name().startswith(_NAME):
                    continue
                if process.status() != psutil.STATUS_ZOMBIE:
                    owner = self._owner(process.cmdline())
                    if owner is not None:
                        living[process.pid] = owner
                elif (known := self._known.get(process.pid)) is not None:
                    dead.add(known)
                    living[process.pid] = known
                else:
                    self.strangers += 1
            except psutil.Error:
                continue  # it ended while we looked
        # A number is given to another process only after its zombie was collected: then it is not among the children.
        self._known = living
        self.living = frozenset(owner for pid, owner in living.items() if owner not in dead)
        return frozenset(dead)

    def _children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self._server_pid).children()
        except psutil.Error:
            return []

    def _owner(self, arguments: list[str]) -> ModelVersion | None:
        """Return what a stub runs: its first argument is a file in the version's directory."""
        try:
            model, version, *_ = Path(arguments[1]).relative_to(self._root).parts
            return model, int(version)
        except (IndexError, ValueError):
            _log.debug("a process of Triton with the arguments %s belongs to no version", arguments)
            return None
