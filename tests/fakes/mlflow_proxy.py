"""A network between a client and a real MLflow server that fails on demand: it passes on what is asked, or does not."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.fakes.memory_http import AnsweringHandler, running

_TIMEOUT_S = 30.0
_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "keep-alive", "host", "date", "server"}


class MlflowProxy(ThreadingHTTPServer):
    """Stands before a server.

    Attributes:
        asked: Method and path of every request.
        authorizations: What the requests said of who asks.
        refusing: A status that every request gets instead of an answer; 0 for none.
        refusing_artifacts: The same for every request about a file.
        breaking_after: So many more requests are passed on, and then every connection breaks; None for no end.
        losing: The answer to a request whose path ends like this is lost, once, although the server did what it asked.
        cutting: The answer to a request whose path ends like this breaks off in the middle; None for none.
        flipping: Of an artifact whose path ends like this one byte is changed on the way there; None for none.
        listing: Changes the files that the server lists; None to leave them.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = port
        self.lock = threading.Lock()
        self.asked: list[str] = []
        self.authorizations: list[str | None] = []
        self.refusing = 0
        self.refusing_artifacts = 0
        self.breaking_after: int | None = None
        self.losing: str | None = None
        self.cutting: str | None = None
        self.flipping: str | None = None
        self.listing: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] | None = None

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


def mlflow_proxy(port: int) -> AbstractContextManager[MlflowProxy]:
    """Stand before the server on a port, on a port of its own."""
    return running(MlflowProxy(port))


class _Handler(AnsweringHandler):
    server: MlflowProxy

    def do_GET(self) -> None:  # noqa: N802 - the name of the method
        """Pass a request on."""
        self._pass_on()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET  # noqa: N815 - the names of the methods

    def _pass_on(self) -> None:
        server, path = self.server, urlsplit(self.path).path
        body = self.body()
        with server.lock:
            server.asked.append(f"{self.command} {path}")
            server.authorizations.append(self.headers.get("Authorization"))
            broken = server.breaking_after == 0
            if server.breaking_after:
                server.breaking_after -= 1
            lost = server.losing is not None and path.endswith(server.losing)
            if lost:
                server.losing = None
        if broken:
            self._break()
            return
        refusing = server.refusing or (server.refusing_artifacts if "/mlflow-artifacts/" in path else 0)
        if refusing:
            self.answer(refusing, b"no")
            return
        if server.flipping is not None and self.command == "PUT" and path.endswith(server.flipping):
            body = bytes([body[0] ^ 1]) + body[1:]
        status, headers, answer = self._ask(body)
        if lost:
            self._break()
            return
        if server.cutting is not None and path.endswith(server.cutting):
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer[: len(answer) // 2])
            self._break()
            return
        if server.listing is not None and path.endswith("/mlflow-artifacts/artifacts"):
            answer = json.dumps({"files": server.listing(json.loads(answer).get("files", []))}).encode()
        self.answer(status, answer, **headers)

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=_TIMEOUT_S)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        headers["Accept-Encoding"] = "identity"
        try:
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            found = {name: value for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP}
            return response.status, found, response.read()
        finally:
            connection.close()

    def _break(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
