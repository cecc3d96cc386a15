"""The last route table on disk, so that a gateway that starts while the controller is away still serves."""

from __future__ import annotations

import logging
import os
import tempfile
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

    def save(self, table: RouteTable) -> None:
        """Replace the file, so that a reader sees the old table or the new one and never a part.

        A disk that does not take it is logged: serving goes on, only the next start has to wait for the controller.
        """
        document = {
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
        try:
            handle, name = tempfile.mkstemp(prefix=f"{self._path.name}.", dir=self._path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except OSError as error:
            _log.warning("the route table could not be saved to %s: %s", self._path, error)


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
