"""The port through which versions are loaded and unloaded.

A load names the exact set of versions that shall be loaded, so it is idempotent and safe to repeat after a crash.
"""

from __future__ import annotations

from typing import Protocol


class ModelServer(Protocol):
    """A server whose loaded models can be changed. Adapter: ``TritonModelServer``."""

    async def loaded(self) -> dict[str, frozenset[int]]:
        """Return the READY versions by model; a model with none is left out.

        Raises:
            Unavailable: The server does not answer.
        """
        ...

    async def load(self, model: str, versions: frozenset[int]) -> None:
        """Make exactly these versions READY; versions that stay are not touched, an empty set unloads the model.

        Raises:
            NotFound: The repository has no such model or version.
            ConfigurationError: The model's ``config.pbtxt`` is wrong.
            UpstreamFailure: A version could not be loaded (with the server's reason); the others are as before.
            DeadlineExceeded: The versions were not READY in time.
            Unavailable: The server does not answer.
        """
        ...

    async def unload(self, model: str) -> None:
        """Unload every version of a model after its last request; a model that is not loaded is fine.

        Raises:
            Unavailable: The server does not answer.
        """
        ...

    async def ready(self) -> bool:
        """Whether it answers and says that it is ready; never raises for a server that is away."""
        ...
