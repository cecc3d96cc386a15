"""What is in the model repository."""

from __future__ import annotations

from typing import Protocol


class Published(Protocol):
    """Models and versions that could be loaded. ``services.triton.layout.RepositoryLayout`` is one."""

    def models(self) -> list[str]:
        """Return the names of all models.

        Raises:
            ConfigurationError: The repository cannot be read.
        """
        ...

    def versions(self, model: str) -> list[int]:
        """Return the published versions of a model.

        Raises:
            NotFound: There is no such model.
        """
        ...
