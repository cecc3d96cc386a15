"""The processes that run Python-based models, children of Triton: how many live of each model version.

When one of them dies, Triton 2.51 neither starts another nor says so: its version stays READY, and every request to it
fails until it is loaded again. What tells is the processes: a version that has fewer than it has instances is broken.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from services.core.errors import UpstreamFailure
from services.triton.instances import instances_of

_log = logging.getLogger(__name__)
# The kernel keeps 15 characters of a name, and of a process that ended nothing else.
_NAME = "triton_python_backend_stub"[:15]

ModelVersion = tuple[str, int]


class Stubs(NamedTuple):
    """What one look found.

    Attributes:
        living: Living processes by model and version.
        ended: How many ended and were not collected. Triton collects one when it has unloaded its version, which may be
            seconds after another process of the same version serves.
    """

    living: Counter[ModelVersion]
    ended: int


class StubWatch:
    """Looks at the children of one Triton.

    Args:
        server_pid: Process id of the Triton.
        root: Its model repository, as it was told it.
    """

    def __init__(self, server_pid: int, root: Path) -> None:
        self._server_pid = server_pid
        self._root = root

    def look(self) -> Stubs:
        """Return the processes of now."""
        living, ended = Counter[ModelVersion](), 0
        for process in self._children():
            try:
                if not process.name().startswith(_NAME):
                    continue
                if process.status() == psutil.STATUS_ZOMBIE:
                    ended += 1
                elif (owner := self._owner(process.cmdline())) is not None:
                    living[owner] += 1
            except psutil.ZombieProcess:
                ended += 1
            except psutil.Error:
                continue  # it was collected while we looked
        return Stubs(living, ended)

    def processes(self) -> Iterator[tuple[ModelVersion, psutil.Process]]:
        """Yield every living process with what it runs."""
        for process in self._children():
            try:
                is_living = process.name().startswith(_NAME) and process.status() != psutil.STATUS_ZOMBIE
                owner = self._owner(process.cmdline()) if is_living else None
            except psutil.Error:
                continue  # it ended while we looked
            if owner is not None:
                yield owner, process

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


def processes_of(config: Mapping[str, Any], is_python: Callable[[str], bool]) -> int:
    """Return how many processes run a version: one for each instance of a Python-based backend, else none.

    Args:
        config: The configuration that Triton says it runs the version with.
        is_python: Whether a backend is Python-based.

    Raises:
        UpstreamFailure: The configuration makes no sense.
    """
    try:
        if not is_python(config["backend"]):
            return 0
        return instances_of({"instance_group": config["instance_group"]})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UpstreamFailure(f"Triton's configuration of a model makes no sense: {error!r}") from error
