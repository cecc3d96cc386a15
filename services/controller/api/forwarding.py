"""What is to be changed goes to the controller that leads, whichever was asked; reading is answered here.

Forwarded and not redirected: whoever asks may reach this controller and not the other one. One hop, with a bound on its
time; a controller that gets a forwarded request and does not lead refuses it. What is read and only the leader knows
in full, the answers that a rollout waits for and the gateways that report, is asked of it too; without its answer in
time this controller tells what it knows.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

import httpx2
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.controller.election.leadership import Leader, Mandate, other_leader

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_LEADER_KNOWS = re.compile(r"/v1/rollouts/[^/]+/explanation|/rollouts/[^/]+(?:/live)?")
_HOP = "penstock-forwarded-by"
# Of one connection, or made anew on the way on. The host is passed on: a page's origin is compared with it.
_NOT_PASSED_ON = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length", "expect"}
)
# And on the way back: the body comes decoded, and this server names itself.
_NOT_PASSED_BACK = _NOT_PASSED_ON | {"content-encoding", "date", "server"}
_UNAVAILABLE = 503
_FAILED = 500
_RETRY = {"retry-after": "2"}


class ToLeader:
    """Sends requests to the leader.

    Args:
        mandate: Who leads.
        timeout_s: Longest wait for its answer.
        read_timeout_s: Longest wait for an answer that this controller can give too, in part.
        transport: What carries them; the network by default.
    """

    def __init__(
        self,
        mandate: Mandate,
        timeout_s: float = 10.0,
        read_timeout_s: float = 2.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.mandate = mandate
        self._read_timeout_s = read_timeout_s
        limits = httpx2.Limits(max_connections=16)
        self._client = httpx2.AsyncClient(timeout=timeout_s, transport=transport, trust_env=False, limits=limits)

    async def send(self, request: Request) -> Response:
        """Return the leader's answer, or a refusal where there is no leader that answers."""
        leader = other_leader(self.mandate)
        if leader is None or _HOP in request.headers:
            return JSONResponse({"error": self.mandate.refusal()}, _UNAVAILABLE, _RETRY)
        try:
            answer = await self._asked(request, leader, await request.body())
        except HTTPException as error:  # the body is over its limit
            words = f"{request.method} {_path_of(request)}: {error.detail}"
            return JSONResponse({"error": words}, error.status_code)
        except httpx2.HTTPError as error:
            words = f"{self.mandate.refusal()}, and does not answer ({type(error).__name__}: {error}); try again"
            return JSONResponse({"error": words}, _UNAVAILABLE, _RETRY)
        return _passed_back(answer, leader)

    async def read(self, request: Request) -> Response | None:
        """Return the leader's answer to a request without a body; None where there is none in time."""
        leader = other_leader(self.mandate)
        if leader is None or _HOP in request.headers:
            return None
        try:
            async with asyncio.timeout(self._read_timeout_s):
                answer = await self._asked(request, leader, b"")
        except (httpx2.HTTPError, TimeoutError):
            return None
        return None if answer.status_code >= _FAILED else _passed_back(answer, leader)

    async def _asked(self, request: Request, leader: Leader, body: bytes) -> httpx2.Response:
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_PASSED_ON}
        query = f"?{request.url.query}" if request.url.query else ""
        return await self._client.request(
            request.method,
            f"http://{leader.http}{_path_of(request)}{query}",
            headers={**headers, _HOP: self.mandate.me.instance},
            content=body,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class Forwarding:
    """ASGI middleware that passes everything but reading on while another controller leads.

    Args:
        app: The application behind it.
        to_leader: Sends requests to the leader.
    """

    def __init__(self, app: ASGIApp, to_leader: ToLeader) -> None:
        self._app = app
        self._to_leader = to_leader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer here or there."""
        if scope["type"] != "http" or self._to_leader.mandate.held:
            await self._app(scope, receive, send)
            return
        if scope["method"] in _READS:
            known = await self._to_leader.read(Request(scope)) if _LEADER_KNOWS.fullmatch(scope["path"]) else None
            await (known or self._app)(scope, receive, send)
            return
        with suppress(ClientDisconnect):  # nobody waits for the answer
            answer = await self._to_leader.send(Request(scope, receive))
            await answer(scope, receive, send)


def _path_of(request: Request) -> str:
    path: bytes = request.scope["raw_path"]
    return path.decode("latin-1")


def _passed_back(answer: httpx2.Response, leader: Leader) -> Response:
    passed = Response(answer.content, answer.status_code)
    passed.headers["penstock-answered-by"] = leader.instance
    for name, value in answer.headers.multi_items():  # there may be several cookies
        if name.lower() not in _NOT_PASSED_BACK:
            passed.headers.append(name, value)
    return passed
