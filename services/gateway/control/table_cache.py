"""The last route table on disk, so that a gateway that starts while the controller is away still serves."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from services.core.mirror import Mirror
from services.core.route import Arm, Route, RouteTable

_log = logging.getLogger(__name__)


class TableCache:
    """One file; every worker of a gateway reads and replaces it as a whole.

    Args:
        path: The file; its directory exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> RouteTable | None:
        """Return the table that was saved last; None when there is none or it is damaged, which is logged."""
        try:
            document = orjson.loads(self._path.read_bytes())
            routes = [_route(entry) for entry in document["routes"]]
            changed = {entry["model"]: entry["changed"] for entry in document["routes"] if entry.get("changed")}
            return RouteTable(document["generation"], {route.model: route for route in routes}, changed)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("the saved route table %s cannot be used and is ignored: %r", self._path, error)
            return None

    def save(self, table: RouteTable, rewound: bool = False) -> bool:
        """Replace the file, so that a reader sees the old table or the new one and never a part.

        A disk that does not take it is logged: serving goes on, only the next start has to wait for the controller.

        Args:
            table: The table.
            rewound: Whether generations started again. Otherwise a table of a higher one stays: each worker saves at
                its own pace, and the last to be through need not have the newest.

        Returns:
            Whether the file has this table or a newer one.
        """
        try:
            self._replace(table, rewound)
        except OSError as error:
            _log.warning("the route table could not be saved to %s: %s", self._path, error)
            return False
        return True

    def remove_leftovers(self, older_than_s: float) -> None:
        """Remove what workers left that were killed while they saved.

        Raises:
            OSError: The directory cannot be read or written.
        """
        for leftover in self._path.parent.glob(f"{self._path.name}.*"):
            with suppress(FileNotFoundError):
                if leftover.stat().st_mtime < time.time() - older_than_s:
                    leftover.unlink()

    def _replace(self, table: RouteTable, rewound: bool) -> None:
        handle, name = tempfile.mkstemp(prefix=f"{self._path.name}.", dir=self._path.parent)
        written = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(orjson.dumps(_document(table), option=orjson.OPT_INDENT_2))
                file.flush()
                os.fsync(file.fileno())
            with _alone_in(self._path.parent):
                present = self.load()
                if rewound or present is None or present.generation <= table.generation:
                    written.replace(self._path)
        finally:
            written.unlink(missing_ok=True)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other workers out for as long as a file is looked at and replaced; the lock ends with its process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _document(table: RouteTable) -> dict[str, Any]:
    return {
        "generation": table.generation,
        "routes": [
            {
                "model": route.model,
                "stable": route.stable,
                "candidate": route.candidate,
                "weight_percent": route.weight_percent,
                "versions": sorted(route.versions),
                "mirror": route.mirror and asdict(route.mirror),
                "arms": [asdict(arm) for arm in route.arms],
                "experiment": route.experiment,
                "changed": table.changed.get(route.model, 0),
            }
            for route in table.routes.values()
        ],
    }


def _route(entry: dict[str, Any]) -> Route:
    mirror = entry.get("mirror")  # a table of an older gateway has none
    return Route(
        entry["model"],
        entry["stable"],
        entry["candidate"],
        entry["weight_percent"],
        frozenset(entry["versions"]),
        mirror and Mirror(**mirror),
        tuple(Arm(**arm) for arm in entry.get("arms", ())),  # neither has it these
        entry.get("experiment", False),
    )
