"""An OCI registry, as container images live in: a repository per model, a tag per version, a layer per file."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
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

SCHEME = "oci://"
_VERSION = re.compile(r"[1-9][0-9]*")
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md
_REPOSITORY = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_PLACE = re.compile(r"(?P<host>[^/]+)(/(?P<prefix>.+?))?/?")
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_TITLE = "org.opencontainers.image.title"
_FILE = "application/vnd.oci.image.layer.v1.tar"  # what oras calls a file that it leaves as it is
# Of a layer's title: a file of the version, or one that its versions share.
_OWN, _SHARED = "version", "model"
_TIMEOUTS_S = (5.0, 600.0)  # to connect, and between two bytes
_RETRIES = 2  # of connections that fail before anything was sent
_MISSING = re.compile(r"\b404\b|not found|NAME_UNKNOWN|MANIFEST_UNKNOWN", re.IGNORECASE)
_NO_ACCESS = re.compile(r"\b40[13]\b|authenti|denied", re.IGNORECASE)


class OciRegistry:
    """A registry, or a part of one. Credentials are those of ``docker login``.

    A registry has no conditional write: of two that push one number at the same moment the later one wins.

    Args:
        url: Such as ``oci://registry.example.org/team/models``; loopback addresses are spoken to without TLS.

    Raises:
        ConfigurationError: The URL has another form.
        MissingDependency: oras is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import oras.client
            import requests.adapters
        except ImportError as error:
            raise MissingDependency(f"oras is not there: {error}", "pip install 'penstock[stores]'") from error
        place = _PLACE.fullmatch(url.removeprefix(SCHEME))
        if not url.startswith(SCHEME) or place is None:
            raise ConfigurationError(f"'{url}' cannot be opened; expected oci://HOST[:PORT]/PREFIX")
        self._url, self._host, self._prefix = url, place["host"], place["prefix"]
        insecure = re.sub(r":\d+$", "", self._host) in _LOOPBACK

        class Client(oras.client.OrasClient):  # type: ignore[misc] # it has no types
            def do_request(self, *args: Any, **keywords: Any) -> Any:
                """Ask once: oras would try again for two minutes, whatever the reason; the adapter knows better."""
                return oras.client.OrasClient.do_request.__wrapped__(self, *args, **keywords)

        self._client: Any = Client(hostname=self._host, insecure=insecure)

        class Bounded(requests.adapters.HTTPAdapter):  # type: ignore[misc] # it has no types
            def send(self, *args: Any, **keywords: Any) -> Any:  # oras itself waits for ever
                return super().send(*args, **{**keywords, "timeout": keywords.get("timeout") or _TIMEOUTS_S})

        for scheme in ("http://", "https://"):
            self._client.session.mount(scheme, Bounded(max_retries=_RETRIES))

    def versions(self, model: str) -> list[int]:
        """Return the versions of a model, ascending."""
        try:
            with self._errors(model):
                tags = self._client.get_tags(self._reference(model))
        except NotFound:
            return []
        return sorted(int(tag) for tag in tags if _VERSION.fullmatch(tag))

    def push(self, model: str, version: int, files: Mapping[str, Path], shared: Mapping[str, Path]) -> None:
        """Store a version: its layers, then the manifest that names them."""
        if version in self.versions(model):
            if (
                self._layers(model, version).get(f"{_OWN}/{MANIFEST_FILE}")
                != f"sha256:{sha256_of(files[MANIFEST_FILE])}"
            ):
                raise Conflict(f"{self._url} has another {model}:{version} already; a version is never written over")
            return
        titles = {str(path.absolute()): f"{_OWN}/{name}" for name, path in files.items()}
        titles |= {str(path.absolute()): f"{_SHARED}/{name}" for name, path in shared.items()}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as annotations, self._errors(f"{model}:{version}"):
            json.dump({path: {_TITLE: title} for path, title in titles.items()}, annotations)
            annotations.flush()
            self._client.push(
                target=self._reference(model, version),
                files=list(titles),
                annotation_file=annotations.name,
                disable_path_validation=True,
                quiet=True,
            )

    def pull(self, model: str, version: int, folder: Path) -> None:
        """Write a version's files, and the model's into ``folder.parent``."""
        for title in self._layers(model, version):
            parts = PurePosixPath(title).parts
            if parts[0] not in (_OWN, _SHARED) or ".." in parts or len(parts) == 1:
                raise ConfigurationError(
                    f"{self._url} holds a file '{title}' of {model}:{version} that is not Penstock's"
                )
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent.parent) as work:
            with self._errors(f"{model}:{version}"):
                self._client.pull(target=self._reference(model, version), outdir=work)
            (Path(work) / _OWN).rename(folder)
            if (Path(work) / _SHARED).is_dir():
                shutil.copytree(Path(work) / _SHARED, folder.parent, dirs_exist_ok=True)

    def _layers(self, model: str, version: int) -> dict[str, str]:
        """Return the digest of each file by its title."""
        what = f"{model}:{version}"
        with self._errors(what):
            manifest = self._client.get_manifest(self._client.get_container(self._reference(model, version)))
            layers = manifest["layers"]
            if archives := [layer["annotations"][_TITLE] for layer in layers if layer["mediaType"] != _FILE]:
                # oras would unpack it, and follow the links in it out of the folder.
                raise ConfigurationError(
                    f"{self._url}: '{archives[0]}' in {what} is an archive, which Penstock never pushes"
                )
            return {str(layer["annotations"][_TITLE]): str(layer["digest"]) for layer in layers}

    def _reference(self, model: str, version: int | None = None) -> str:
        path = f"{self._prefix}/{model}" if self._prefix else model
        if not _REPOSITORY.fullmatch(path):
            raise ConfigurationError(
                f"'{path}' is no name of an OCI repository: small letters, digits, and . _ - between"
            )
        return f"{self._host}/{path}" + (f":{version}" if version is not None else "")

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn oras's errors, which are of many kinds and told apart by their words, into ours."""
        import requests

        try:
            yield
        except PenstockError:
            raise
        except requests.RequestException as error:
            if error.response is not None and error.response.status_code == requests.codes.not_found:
                raise NotFound(f"{self._url} has no {what}") from error
            raise Unavailable(f"{self._url} does not answer for {what}: {error}") from error
        except OSError:
            raise  # this machine's disk
        except Exception as error:
            words = str(error)
            if _MISSING.search(words):
                raise NotFound(f"{self._url} has no {what}") from error
            if _NO_ACCESS.search(words):
                raise Forbidden(f"{self._url} does not give access to {what}: {words}") from error
            raise Unavailable(f"{self._url} does not give or take {what}: {words}") from error
