"""The port through which versions are loaded and unloaded.

A load names the exact set of versions that shall be loaded, so it is idempotent and safe to repeat after a crash.
"""

from __future__ import annotations

from typing import Protocol

from services.core.inventory import Inventory

NOTHING: frozenset[int] = frozenset()


class ModelServer(Protocol):
    """A server, or a group that serves the same, whose loaded models can be changed.

    Adapters: ``TritonModelServer`` for one, ``ModelServerGroup`` for several.
    """

    async def loaded(self) -> Inventory:
        """Return the READY versions by model.

        Raises:
            Unavailable: The server does not answer; of a group, none does.
        """
        ...

    async def load(self, model: str, versions: frozenset[int], tolerated: frozenset[int] = NOTHING) -> None:
        """Make exactly these versions READY; versions that stay are not touched, an empty set unloads the model.

        Args:
            model: Model name.
            versions: Versions to have.
            tolerated: Versions that stay where they are READY and are not loaded where they are not.

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
