"""A service that webhooks call, on a real socket."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_WAIT_S = 30.0
Calls = list[tuple[str, dict[str, str], dict[str, Any]]]


class HttpListener:
    """Answers every POST with one status.

    Args:
        port: Where it listens; 0 chooses a free port.

    Attributes:
        status: The status.
        calls: Path, headers by lower-case name, and body of every call, in order.
        url: Where it is.
    """

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        self.calls: Calls = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                listener.calls.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(listener.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base class calls it so
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def until(self, holds: Callable[[Calls], bool]) -> None:
        """Wait until something holds of the calls."""
        deadline = time.monotonic() + _WAIT_S
        while not holds(list(self.calls)):
            assert time.monotonic() < deadline, f"never heard what was waited for: {self.calls[-5:]}"
            time.sleep(0.05)


@contextmanager
def listening(port: int = 0) -> Iterator[HttpListener]:
    """Run one until the context ends; port 0 chooses a free one."""
    listener = HttpListener(port)
    thread = threading.Thread(target=listener.server.serve_forever)
    thread.start()
    try:
        yield listener
    finally:
        listener.server.shutdown()
        thread.join()
        listener.server.server_close()
