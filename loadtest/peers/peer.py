"""What a server under comparison has to offer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loadtest.bench.part import Part
from loadtest.peers.forms import Form

PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Site:
    """Where a peer runs for one round.

    Attributes:
        folder: Its own, empty; its path is short, because sockets may lie in it.
        repository: The model in Triton's layout.
        onnx: The model's ONNX file.
    """

    folder: Path
    repository: Path
    onnx: Path


@dataclass(frozen=True, slots=True)
class Serving:
    """A peer that answers.

    Attributes:
        address: HOST:PORT of its REST side.
        parts: All its processes, the model server's included.
    """

    address: str
    parts: tuple[Part, ...]


class Peer(Protocol):
    """A server under comparison."""

    @property
    def name(self) -> str:
        """What the report calls it."""
        ...

    @property
    def forms(self) -> tuple[Form, ...]:
        """How it takes a row over REST."""
        ...

    def prepare(self, say: Callable[[str], None]) -> str:
        """Install what it needs, and return its version."""
        ...

    def serve(self, site: Site) -> AbstractContextManager[Serving]:
        """Start it, wait until it answers, and end it with all its processes."""
        ...
