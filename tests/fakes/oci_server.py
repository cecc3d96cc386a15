"""As much of an OCI registry as pushing and pulling needs, over real HTTP, in memory.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import AbstractContextManager
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.fakes.memory_http import AnsweringHandler, running

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags)/(?P<rest>.*)")


class OciServer(ThreadingHTTPServer):
    """Holds repositories.

    Attributes:
        blobs: By digest.
        manifests: By repository and tag.
        refusing: A status that every request gets instead of an answer; 0 for none.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.refusing = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return f"oci://127.0.0.1:{self.server_address[1]}"


def registry() -> AbstractContextManager[OciServer]:
    """Run a registry on a free port."""
    return running(OciServer())


class _Handler(AnsweringHandler):
    server: OciServer

    def do_POST(self) -> None:  # noqa: N802 - the name of the method
        """Begin an upload."""
        self.body()
        self.answer(202, b"", Location=f"{urlsplit(self.path).path}one")

    def do_PUT(self) -> None:  # noqa: N802 - the name of the method
        """Take a blob or a manifest."""
        body, parts = self.body(), self._parts()
        if self._refused():
            return
        if parts["kind"] == "blobs":
            digest = parse_qs(urlsplit(self.path).query)["digest"][0]
            if digest != _digest(body):
                self.answer(400, b'{"errors": [{"code": "DIGEST_INVALID"}]}')
                return
            self.server.blobs[digest] = body
        else:
            self.server.manifests[parts["name"], parts["rest"]] = body
        self.answer(201, b"", Location=self.path)

    def do_HEAD(self) -> None:  # noqa: N802 - the name of the method
        """Tell whether something is there."""
        self.do_GET()

    def do_GET(self) -> None:  # noqa: N802 - the name of the method
        """Return tags, a manifest or a blob."""
        if self._refused():
            return
        parts = self._parts()
        if parts["kind"] == "tags":
            tags = [tag for name, tag in self.server.manifests if name == parts["name"]]
            found = json.dumps({"name": parts["name"], "tags": tags}).encode() if tags else None
        elif parts["kind"] == "blobs":
            found = self.server.blobs.get(parts["rest"])
        else:
            found = self.server.manifests.get((parts["name"], parts["rest"]))
        if found is None:
            self.answer(404, b'{"errors": [{"code": "NAME_UNKNOWN", "message": "not found"}]}')
        else:
            self.answer(200, found)

    def _parts(self) -> dict[str, str]:
        match = _PATH.fullmatch(urlsplit(self.path).path)
        assert match is not None, self.path
        return match.groupdict()

    def _refused(self) -> bool:
        if self.server.refusing:
            self.answer(self.server.refusing, b'{"errors": [{"code": "DENIED"}]}')
        return bool(self.server.refusing)


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
