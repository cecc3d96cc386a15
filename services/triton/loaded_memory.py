"""Which versions were loaded, kept on disk for the next start."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

_log = logging.getLogger(__name__)

Loaded = Mapping[str, frozenset[int]]


class LoadedMemory:
    """The versions to load again after a Triton died, or after its supervisor did.

    A set that shrinks is believed only when it is seen twice in a row: a Triton that is going down unloads its models
    one by one, and its last words must not become what the next one starts with.

    Args:
        path: The file that keeps it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loaded: Loaded = self._read()
        self._shrunk: Loaded | None = None

    @property
    def loaded(self) -> Loaded:
        """What to load at the next start."""
        return self._loaded

    def observe(self, loaded: Loaded) -> None:
        """Take in what a healthy Triton has loaded now."""
        if loaded == self._loaded:
            self._shrunk = None
            return
        if not _covers(loaded, self._loaded) and loaded != self._shrunk:
            self._shrunk = loaded
            return
        self._shrunk = None
        self._loaded = dict(loaded)
        self._write()

    def _read(self) -> Loaded:
        try:
            document = json.loads(self._path.read_bytes())
            return {str(model): frozenset(map(int, versions)) for model, versions in document.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _log.warning("%s cannot be read (%s): starting with no model loaded", self._path, error)
            return {}

    def _write(self) -> None:
        document = {model: sorted(versions) for model, versions in self._loaded.items()}
        temporary = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(document))
            temporary.replace(self._path)
        except OSError as error:
            # Serving goes on; only a supervisor that dies now would start with an older set.
            _log.error("%s cannot be written: %s", self._path, error)


def _covers(larger: Loaded, smaller: Loaded) -> bool:
    return all(versions <= larger.get(model, frozenset()) for model, versions in smaller.items())
