"""As much of an OCI registry as pushing and pulling needs, over real HTTP, in memory.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

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


@contextmanager
def registry() -> Iterator[OciServer]:
    """Run a registry on a free port."""
    with OciServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OciServer

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """Begin an upload."""
        self._body()
        self._answer(202, b"", Location=f"{urlsplit(self.path).path}one")

    def do_PUT(self) -> None:
        """Take a blob or a manifest."""
        body, parts = self._body(), self._parts()
        if self._refused():
            return
        if parts["kind"] == "blobs":
            digest = parse_qs(urlsplit(self.path).query)["digest"][0]
            if digest != _digest(body):
                self._answer(400, b'{"errors": [{"code": "DIGEST_INVALID"}]}')
                return
            self.server.blobs[digest] = body
        else:
            self.server.manifests[parts["name"], parts["rest"]] = body
        self._answer(201, b"", Location=self.path)

    def do_HEAD(self) -> None:
        """Tell whether something is there."""
        self.do_GET()

    def do_GET(self) -> None:
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
            self._answer(404, b'{"errors": [{"code": "NAME_UNKNOWN", "message": "not found"}]}')
        else:
            self._answer(200, found)

    def _parts(self) -> dict[str, str]:
        match = _PATH.fullmatch(urlsplit(self.path).path)
        assert match is not None, self.path
        return match.groupdict()

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _refused(self) -> bool:
        if self.server.refusing:
            self._answer(self.server.refusing, b'{"errors": [{"code": "DENIED"}]}')
        return bool(self.server.refusing)

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
