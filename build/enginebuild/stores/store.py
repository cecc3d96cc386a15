"""The port between published versions and the places that keep them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """Keeps versions of models, each under its own number, once and for all."""

    def versions(self, model: str) -> list[int]:
        """Return the versions of a model that are there whole, ascending.

        Raises:
            Unavailable: The store does not answer.
            Forbidden: It does not let this person in.
        """
        ...

    def push(self, model: str, version: int, files: Mapping[str, Path], shared: Mapping[str, Path]) -> None:
        """Store a version; nobody sees it before all of it is there.

        Args:
            model: Model name.
            version: Its number.
            files: The version's own files by relative path, the manifest among them.
            shared: The model's files by name, which newer versions replace.

        Raises:
            Conflict: Another version is there under this number; also errors as in ``versions``.
        """
        ...

    def pull(self, model: str, version: int, folder: Path) -> None:
        """Write a version's files, and the model's into ``folder.parent``; what they are nobody has checked.

        Raises:
            NotFound: It is not there; also errors as in ``versions``.
        """
        ...
