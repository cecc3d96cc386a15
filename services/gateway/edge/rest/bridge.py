"""One request of the documented surface to an ASGI application: complete body in, complete answer out."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote_to_bytes

from services.core.errors import PenstockError
from services.gateway.edge.rest.head import Head
from services.gateway.edge.rest.response import Reply
from services.process.asgi import ASGIApp, Message, Scope

# The description and its page are the same at every time, and not cheap to make.
_CONSTANT = frozenset({b"/openapi.json", b"/docs"})
# The framing is the connection's own to say.
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"date", b"server"})
_OK = 200
_START, _BODY = "http.response.start", "http.response.body"


class Bridge:
    """Asks one application.

    Args:
        app: The application; it is not told of the server's start and end.
        max_answer_bytes: Bound on an answer's body.
    """

    def __init__(self, app: ASGIApp, max_answer_bytes: int) -> None:
        self._app = app
        self._max_answer_bytes = max_answer_bytes
        self._constant: dict[bytes, Reply] = {}

    async def ask(self, head: Head, body: bytes, client: tuple[str, int] | None) -> Reply:
        """Return the application's answer."""
        known = self._constant.get(head.path)
        if known is not None:
            return known
        answer = _Answer(body, self._max_answer_bytes)
        await self._app(_scope(head, client), answer.receive, answer.send)
        reply = answer.reply()
        if head.path in _CONSTANT and reply.status == _OK:
            self._constant[head.path] = reply
        return reply


class _Answer:
    """The two ends that an application holds."""

    def __init__(self, body: bytes, max_bytes: int) -> None:
        self._body: bytes | None = body
        self._left = max_bytes
        self._status = 0
        self._fields: list[bytes] = []
        self._parts: list[bytes | memoryview] = []

    async def receive(self) -> Message:
        if self._body is None:
            await asyncio.Event().wait()  # the client's departure comes as a cancellation
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == _START:
            self._status = message["status"]
            self._fields = [
                b"%s: %s\r\n" % (name.title(), value)
                for name, value in message.get("headers", ())
                if name.lower() not in _FRAMING
            ]
        elif message["type"] == _BODY:
            part = message.get("body", b"")
            self._left -= len(part)
            if self._left < 0:
                raise PenstockError("a document is larger than the gateway's limit on answers")
            self._parts.append(part)

    def reply(self) -> Reply:
        if not self._status:
            raise PenstockError("the application of the documents gave no answer")
        return Reply(self._status, b"".join(self._fields), [b"".join(self._parts)])


def _scope(head: Head, client: tuple[str, int] | None) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.0" if head.old else "1.1",
        "method": "GET" if head.method == b"HEAD" else head.method.decode("ascii"),
        "scheme": "http",
        "path": unquote_to_bytes(head.path).decode("utf-8", "backslashreplace"),
        "raw_path": head.path,
        "query_string": head.query,
        "root_path": "",
        "headers": head.headers,
        "client": client,
        "server": None,
        "state": {},
    }
