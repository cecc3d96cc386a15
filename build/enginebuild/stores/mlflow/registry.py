"""MLflow's model registry: the files and numbers of a version are a run, and its registration comes last, in one step.

What is not registered is not there. A push that was cut off leaves a run that failed or never finished.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from enginebuild.digests import sha256_of
from enginebuild.stores.mlflow import record
from enginebuild.stores.mlflow.catalog import MlflowCatalog
from enginebuild.stores.mlflow.place import MlflowPlace
from enginebuild.stores.mlflow.run import stored_run
from enginebuild.stores.mlflow.server import MlflowServer
from services.core.errors import Conflict, IntegrityError, NotFound
from services.core.records.manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest

# Folders among the artifacts: the version's files, and those that the versions of a model share.
_OWN, _SHARED = "version/", "model/"
_LARGEST_RECORD = 1 << 24  # bytes of a manifest, of a signature, and of all that a model's versions share


class MlflowRegistry:
    """The registry of an MLflow server.

    Args:
        url: Such as ``mlflow+https://mlflow.example.org?alias=production``; ``MlflowPlace`` has the whole form. With
            an alias only the version that it points to is there to be pulled, and a push moves it.

    Raises:
        ConfigurationError: The URL has another form.
        MissingDependency: MLflow's client is not installed.
    """

    def __init__(self, url: str) -> None:
        self._place = MlflowPlace.from_url(url, os.environ)
        self._server = MlflowServer(self._place.server)
        self._catalog = MlflowCatalog(self._server, self._place)

    def versions(self, model: str) -> list[int]:
        """Return the versions of a model, ascending; with an alias the one that it points to."""
        return sorted(self._catalog.visible(model))

    def push(self, model: str, version: int, files: Mapping[str, Path], shared: Mapping[str, Path]) -> None:
        """Store a version: a run with its files, read back and compared, and then its registration."""
        digest = sha256_of(files[MANIFEST_FILE])
        there = self._catalog.registered(model).get(version)
        if there is None:
            manifest = Manifest.from_json(files[MANIFEST_FILE].read_bytes(), str(files[MANIFEST_FILE]))
            tags = record.tags_of(manifest, digest, signed=SIGNATURE_FILE in files)
            sources = {f"{_OWN}{name}": path for name, path in files.items()}
            sources |= {f"{_SHARED}{name}": path for name, path in shared.items()}
            with stored_run(self._server, self._place.experiment, manifest, tags, sources) as run:
                there = self._catalog.register(model, run, tags, record.description_of(manifest))
        if there.tags[record.MANIFEST_TAG] != digest:
            raise Conflict(
                f"MLflow at {self._server.address} has another {model} version {version} already (version "
                f"{there.version} of '{there.name}'); a version is never written over"
            )
        self._catalog.point(there)

    def pull(self, model: str, version: int, folder: Path) -> None:
        """Write a version's files, and the model's into ``folder.parent``."""
        what = f"{model} version {version}"
        there = self._catalog.visible(model).get(version)
        if there is None:
            alias = f" with alias '{self._place.alias}'" if self._place.alias else ""
            raise NotFound(f"MLflow at {self._server.address} has no version {version} of '{model}'{alias}")
        artifacts = self._server.artifacts_of(there)
        listed = artifacts.files()
        own = {path.removeprefix(_OWN): size for path, size in listed.items() if path.startswith(_OWN)}
        shared = {path.removeprefix(_SHARED): size for path, size in listed.items() if path.startswith(_SHARED)}
        if MANIFEST_FILE not in own:
            raise IntegrityError(f"MLflow has no {MANIFEST_FILE} of {what}: it was removed there")
        _refuse_large(own[MANIFEST_FILE] + own.get(SIGNATURE_FILE, 0) + sum(shared.values()), what)
        artifacts.fetch(f"{_OWN}{MANIFEST_FILE}", own.pop(MANIFEST_FILE), folder / MANIFEST_FILE)
        if sha256_of(folder / MANIFEST_FILE) != there.tags[record.MANIFEST_TAG]:
            raise IntegrityError(f"the {MANIFEST_FILE} of {what} in MLflow is not the one that was registered")
        manifest = Manifest.from_json((folder / MANIFEST_FILE).read_bytes(), f"{what}: {MANIFEST_FILE}")
        _refuse_others(what, own, manifest)
        for name, size in own.items():
            artifacts.fetch(f"{_OWN}{name}", size, folder / name)
        for name, size in shared.items():
            artifacts.fetch(f"{_SHARED}{name}", size, folder.parent / name)


def _refuse_large(size: int, what: str) -> None:
    if size > _LARGEST_RECORD:
        raise IntegrityError(
            f"manifest, signature and configuration of {what} in MLflow have {size:,} bytes; at most "
            f"{_LARGEST_RECORD:,} are read"
        )


def _refuse_others(what: str, own: Mapping[str, int], manifest: Manifest) -> None:
    """Refuse files that the manifest does not have so, before they are fetched: it bounds what is.

    Raises:
        IntegrityError: One is missing, or of another size, or not in the manifest.
    """
    expected = {name: entry.size_bytes for name, entry in manifest.files.items()}
    names = sorted((own.keys() | expected.keys()) - {SIGNATURE_FILE})
    if other := [name for name in names if own.get(name) != expected.get(name)]:
        found = ", ".join(f"{name} ({_bytes(own.get(name))}; {_bytes(expected.get(name))} expected)" for name in other)
        raise IntegrityError(f"{what} is not what was published: {found} differ")


def _bytes(size: int | None) -> str:
    return "none" if size is None else f"{size:,} bytes"
