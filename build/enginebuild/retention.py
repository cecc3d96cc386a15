"""Old versions go, the newest and those in service stay. A version is gone in one step, or it is still there whole."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Collection
from pathlib import Path

from enginebuild.lock import exclusive
from enginebuild.publish import LOCK_FILE, LOCK_TIMEOUT_S, versions

_REMOVED = ".removed-"


def dispensable(published: Collection[int], in_service: Collection[int], keep: int) -> list[int]:
    """Return the versions that may go, oldest first: neither among the newest nor in service.

    Args:
        published: What there is.
        in_service: What is loaded, routed to or rolled out.
        keep: How many of the newest stay, at least 1.
    """
    newest = sorted(published)[-max(1, keep) :]
    return sorted(set(published) - set(newest) - set(in_service))


def prune(
    repository: Path, model: str, keep: int, in_service: Callable[[], Collection[int]], say: Callable[[str], None]
) -> list[int]:
    """Remove old versions of a model, and return which.

    Args:
        repository: The model repository.
        model: Model name.
        keep: How many of the newest stay.
        in_service: Asked under the model's lock, so that no build publishes meanwhile.
        say: Tells a person what is done.

    Raises:
        Conflict: A build holds the model's lock.
        PenstockError: Nobody could say what is in service; nothing was removed.
    """
    folder = repository / model
    with exclusive(folder / LOCK_FILE, LOCK_TIMEOUT_S):
        for left in folder.glob(f"{_REMOVED}*"):  # of one that was killed
            shutil.rmtree(left)
        gone = dispensable(versions(folder), in_service(), keep)
        for version in gone:
            aside = folder / f"{_REMOVED}{version}-{uuid.uuid4().hex}"
            (folder / str(version)).rename(aside)
            shutil.rmtree(aside)
            say(f"removed {model} version {version}")
    return gone
