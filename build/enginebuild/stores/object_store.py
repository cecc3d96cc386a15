"""S3 and what speaks like it, Google's and Azure's stores, or a folder: whatever ``obstore`` opens by URL.

The keys are those of a Triton repository, so that a Triton can serve from it. The manifest comes last: what has none is
not there yet. Nothing of a version is ever written over.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from enginebuild.digests import sha256_of
from services.core.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    MissingDependency,
    NotFound,
    PenstockError,
    Unavailable,
)
from services.core.records.manifest import MANIFEST_FILE

_VERSION = re.compile(r"[1-9][0-9]*")
_NO_ACCESS = re.compile(r"status code: 40[13]\b")
_CHUNK = 1 << 22
_CLIENT = {"timeout": "600s", "connect_timeout": "5s"}
_RETRIES = {"max_retries": 4}


class ObjectStore:
    """A bucket, or a part of one.

    Args:
        url: Such as ``s3://bucket/prefix``; credentials and endpoint come from the environment (``AWS_...``).

    Raises:
        ConfigurationError: The URL is none that can be opened.
        MissingDependency: obstore is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import obstore
            from obstore.store import from_url
        except ImportError as error:
            raise MissingDependency(f"obstore is not there: {error}", "pip install 'penstock[stores]'") from error
        self._url, self._obstore = url, obstore
        try:
            if url.startswith("file:"):
                self._store: Any = from_url(url, mkdir=True)
            else:
                client = {**_CLIENT, "allow_http": True}
                self._store = from_url(url, client_options=client, retry_config=_RETRIES)  # type: ignore[call-overload]
        except Exception as error:  # obstore's own and ValueError
            raise ConfigurationError(f"{url} cannot be opened: {_reason(error)}") from error

    def versions(self, model: str) -> list[int]:
        """Return the versions of a model that are there whole, ascending."""
        with self._errors(f"{model}"):
            found = self._obstore.list_with_delimiter(self._store, f"{model}/")
            numbers = [PurePosixPath(prefix).name for prefix in found["common_prefixes"]]
            return sorted(
                int(number) for number in numbers if _VERSION.fullmatch(number) and self._is_whole(model, int(number))
            )

    def push(self, model: str, version: int, files: Mapping[str, Path], shared: Mapping[str, Path]) -> None:
        """Store a version: its files, then the model's, then the manifest."""
        last = files[MANIFEST_FILE]
        for name, path in files.items():
            if name != MANIFEST_FILE:
                self._put_once(f"{model}/{version}/{name}", path)
        if not any(there > version for there in self.versions(model)):
            for name, path in shared.items():
                with self._errors(f"{model}/{name}"):
                    self._obstore.put(self._store, f"{model}/{name}", path)
        self._put_once(f"{model}/{version}/{MANIFEST_FILE}", last)

    def pull(self, model: str, version: int, folder: Path) -> None:
        """Write a version's files, and the model's into ``folder.parent``."""
        if version not in self.versions(model):
            raise NotFound(f"{self._url} has no version {version} of '{model}'")
        with self._errors(f"{model}/{version}"):
            own = self._keys(f"{model}/{version}/")
            listed = self._obstore.list_with_delimiter(self._store, f"{model}/")
            shared = [str(item["path"]) for item in listed["objects"]]
        for key in own:
            self._get(key, folder / _inside(PurePosixPath(key).relative_to(f"{model}/{version}")))
        for key in shared:
            self._get(key, folder.parent / _inside(PurePosixPath(key).relative_to(model)))

    def _is_whole(self, model: str, version: int) -> bool:
        try:
            self._obstore.head(self._store, f"{model}/{version}/{MANIFEST_FILE}")
        except (FileNotFoundError, self._obstore.exceptions.NotFoundError):
            return False
        return True

    def _keys(self, prefix: str) -> list[str]:
        return [str(item["path"]) for page in self._obstore.list(self._store, prefix) for item in page]

    def _put_once(self, key: str, path: Path) -> None:
        """Write an object that is not there; the very same one may be, left by a push that was cut off.

        Raises:
            Conflict: Another one is there.
        """
        try:
            with self._errors(key):
                self._obstore.put(self._store, key, path, mode="create", use_multipart=False)
        except Conflict:
            if self._digest(key) != sha256_of(path):
                raise

    def _digest(self, key: str) -> str:
        digest = hashlib.sha256()
        with self._errors(key):
            for chunk in self._obstore.get(self._store, key).stream(min_chunk_size=_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def _get(self, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._errors(key), path.open("xb") as file:
            for chunk in self._obstore.get(self._store, key).stream(min_chunk_size=_CHUNK):
                file.write(chunk)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn the store's errors into ours."""
        errors = self._obstore.exceptions
        try:
            yield
        except PenstockError:
            raise
        except (errors.NotFoundError, FileNotFoundError) as error:
            raise NotFound(f"{self._url} has no {what}") from error
        except (errors.AlreadyExistsError, errors.PreconditionError, FileExistsError) as error:
            raise Conflict(f"{self._url} has another {what} already; a version is never written over") from error
        except (errors.PermissionDeniedError, errors.UnauthenticatedError, PermissionError) as error:
            raise Forbidden(f"{self._url} does not give access to {what}: {_reason(error)}") from error
        except errors.BaseError as error:
            if _NO_ACCESS.search(str(error)):  # a list that is refused has no error of its own
                raise Forbidden(f"{self._url} does not give access to {what}: {_reason(error)}") from error
            raise Unavailable(f"{self._url} does not give or take {what}: {_reason(error)}") from error


def _inside(path: PurePosixPath) -> PurePosixPath:
    """Refuse a key that would be written somewhere else."""
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ConfigurationError(f"the store holds a key '{path}' that leads out of the version's folder")
    return path


def _reason(error: BaseException) -> str:
    """Return the first line of an error; obstore's go on for pages."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
