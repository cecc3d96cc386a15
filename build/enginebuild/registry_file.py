"""A recipe's file in MLflow's model registry: found by version or alias, fetched once, and told apart by its digest."""

from __future__ import annotations

import hashlib
import os
import posixpath
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from enginebuild.digests import sha256_of
from enginebuild.recipe.registry import LOG_INSTEAD, MlflowFile
from enginebuild.stores.mlflow.artifacts import MlflowArtifacts
from enginebuild.stores.mlflow.place import server_address
from enginebuild.stores.mlflow.server import MlflowServer
from services.core.errors import ConfigurationError, IntegrityError, NotFound
from services.core.records.checkpoint_record import RegistryEntry

# MLflow writes it beside a network that it pickled; https://mlflow.org/docs/latest/ml/deep-learning/pytorch
_PICKLED = "pickle_module_info.txt"
_SHOWN = 8  # names in one message


@dataclass(frozen=True, slots=True)
class RegistryFile:
    """A file that was fetched: where it is now, and where it comes from."""

    path: Path
    entry: RegistryEntry


def fetch(wanted: MlflowFile, cache: Path, say: Callable[[str], None]) -> RegistryFile:
    """Fetch a file, unless the cache has it; MLflow is asked each time which version is meant.

    Args:
        wanted: What the recipe says.
        cache: Folder of what was fetched before.
        say: Tells a person what is done.

    Raises:
        ConfigurationError: No server is named, or it is a pickle.
        NotFound: There is no such model, version, alias or file.
        IntegrityError: It is larger than the recipe allows, or another one than it names.
        Unavailable: The server does not answer.
        Forbidden: It does not let this person in.
        MissingDependency: MLflow's client is not installed.
    """
    server = MlflowServer(server_address(wanted.server, os.environ))
    entry, artifacts = _find(server, wanted)
    size = _size(artifacts.files(), wanted, entry)
    place = cache / "mlflow" / _key(entry)
    path = _cached(place, entry, size)
    if path is None:
        say(f"fetching {entry.path} of '{entry.model}' version {entry.version} from MLflow ({size:,} bytes)")
        path = _fetch(artifacts, entry, size, place)
    digest = path.parent.name
    if wanted.sha256 not in (None, digest):
        raise IntegrityError(
            f"{entry.path} of '{entry.model}' version {entry.version} in MLflow has SHA-256 {digest}; the recipe says "
            f"{wanted.sha256}. If that is the one you mean, write its digest into the recipe"
        )
    return RegistryFile(path, entry)


def _find(server: MlflowServer, wanted: MlflowFile) -> tuple[RegistryEntry, MlflowArtifacts]:
    if wanted.alias is not None:
        found = server.by_alias(wanted.model, wanted.alias)
    else:
        with server.errors(f"version {wanted.version} of '{wanted.model}'"):
            found = server.client.get_model_version(wanted.model, str(wanted.version))
    if found.status != "READY":
        raise NotFound(
            f"version {found.version} of '{wanted.model}' in MLflow at {server.address} is {found.status}, not READY"
        )
    entry = RegistryEntry(server.address, wanted.model, int(found.version), found.run_id or None, wanted.path)
    return entry, server.artifacts_of(found)


def _size(files: Mapping[str, int], wanted: MlflowFile, entry: RegistryEntry) -> int:
    """Return the size of the file; refuses what must not or cannot be fetched."""
    what = f"'{entry.model}' version {entry.version} in MLflow"
    if wanted.path not in files:
        there = ", ".join(sorted(files)[:_SHOWN]) + (", ..." if len(files) > _SHOWN else "")
        instead = f". {LOG_INSTEAD}" if not any(path.endswith((".safetensors", ".pt2")) for path in files) else ""
        raise NotFound(f"{what} has no artifact '{wanted.path}'; it has {there or 'none'}{instead}")
    if posixpath.join(posixpath.dirname(wanted.path), _PICKLED) in files:
        raise ConfigurationError(f"'{wanted.path}' of {what} is a network that MLflow pickled. {LOG_INSTEAD}")
    size = files[wanted.path]
    if size > wanted.max_bytes:
        raise IntegrityError(
            f"'{wanted.path}' of {what} has {size:,} bytes; at most {wanted.max_bytes:,} are fetched (max_bytes)"
        )
    return size


def _key(entry: RegistryEntry) -> str:
    parts = (entry.server, entry.model, str(entry.version), entry.run_id or "", entry.path)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _cached(place: Path, entry: RegistryEntry, size: int) -> Path | None:
    """Return the file of an earlier fetch, when it is still what was fetched: its folder is called by its digest."""
    for path in sorted(place.glob(f"*/{posixpath.basename(entry.path)}")):
        if path.stat().st_size == size and sha256_of(path) == path.parent.name:
            return path
    return None


def _fetch(artifacts: MlflowArtifacts, entry: RegistryEntry, size: int, place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    name = posixpath.basename(entry.path)
    with tempfile.TemporaryDirectory(dir=place, prefix=".") as work:
        arrived = Path(work) / name
        artifacts.fetch(entry.path, size, arrived)
        path = place / sha256_of(arrived) / name
        path.parent.mkdir(exist_ok=True)
        arrived.replace(path)
    return path
