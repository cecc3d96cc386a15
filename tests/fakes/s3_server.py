"""As much of S3 as an object store needs, over real HTTP: objects, conditional writes, lists. Signatures are not read.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ (PutObject, GetObject, HeadObject, ListObjectsV2).
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import AbstractContextManager
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.fakes.memory_http import AnsweringHandler, running

BUCKET = "models"


class S3Server(ThreadingHTTPServer):
    """Holds one bucket in memory.

    Attributes:
        objects: By key.
        refusing: A status that every request gets instead of an answer; 0 for none.
        breaking_after: So many more objects are written, and then every write fails; None for no end.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.refusing = 0
        self.breaking_after: int | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a client finds it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_address[1]}",
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "something",
            "AWS_REGION": "us-east-1",
        }


def s3() -> AbstractContextManager[S3Server]:
    """Run a server on a free port."""
    return running(S3Server())


class _Handler(AnsweringHandler):
    server: S3Server

    def do_PUT(self) -> None:  # noqa: N802 - the name of the method
        """Write an object, where it may be."""
        body = self.body()
        if self._refused():
            return
        server = self.server
        with server.lock:
            if server.breaking_after == 0:
                self.answer(403, _error("AccessDenied"))
                return
            if self.headers.get("If-None-Match") == "*" and self._key in server.objects:
                self.answer(412, _error("PreconditionFailed"))
                return
            server.objects[self._key] = body
            if server.breaking_after is not None:
                server.breaking_after -= 1
        self.answer(200, b"", ETag=_etag(body))

    def do_HEAD(self) -> None:  # noqa: N802 - the name of the method
        """Tell whether an object is there."""
        self.do_GET()

    def do_GET(self) -> None:  # noqa: N802 - the name of the method
        """Return an object, or a list of them."""
        if self._refused():
            return
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if "list-type" in query:
            self.answer(200, self._listing(query.get("prefix", [""])[0], query.get("delimiter", [""])[0]))
        elif (body := self.server.objects.get(self._key)) is None:
            self.answer(404, _error("NoSuchKey"))
        else:
            self.answer(200, body, ETag=_etag(body), **{"Last-Modified": "Sat, 28 Nov 2026 10:00:00 GMT"})

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}").lstrip("/")

    def _refused(self) -> bool:
        if self.server.refusing:
            self.answer(self.server.refusing, _error("AccessDenied"))
        return bool(self.server.refusing)

    def _listing(self, prefix: str, delimiter: str) -> bytes:
        objects, folders = [], dict[str, None]()
        for key, body in sorted(self.server.objects.items()):
            if not key.startswith(prefix):
                continue
            left, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if found:
                folders[f"{prefix}{left}{delimiter}"] = None
            else:
                objects.append(
                    f"<Contents><Key>{escape(key)}</Key><Size>{len(body)}</Size><ETag>{escape(_etag(body))}</ETag>"
                    "<LastModified>2026-11-28T10:00:00.000Z</LastModified></Contents>"
                )
        common = "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in folders)
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><IsTruncated>false</IsTruncated>'
            f"{''.join(objects)}{common}</ListBucketResult>"
        ).encode()


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
