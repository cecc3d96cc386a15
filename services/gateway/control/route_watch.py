"""Follows the route table of the controller that leads; requests never wait for it.

A table older than the one in force is not taken: it may come from a controller that lags behind. One case is different:
the controller's database was replaced, and its generations start again. That shows in the controller saying the older
generation again on a second connection, ``rewind_after_s`` later; then it is taken, and logged.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

import grpc

from services.core.errors import InvalidRequest
from services.core.route import RouteTable
from services.gateway.control.controllers import ANY_CONTROLLER, Controller, Controllers
from services.gateway.control.messages import table_from
from services.gateway.routes import Routes
from services.pb.penstock.v1 import routes_pb2, routes_pb2_grpc
from services.process.backoff import Backoff

_FIRST_RETRY_S = 0.1
_MOST_RETRY_S = 2.0
_HEALTHY_S = 5.0

_log = logging.getLogger(__name__)


class RouteWatch:
    """Keeps ``routes`` at the controller's table.

    Args:
        controllers: The controllers; a follower refuses, and the next one is tried.
        instance: This worker's name.
        routes: What to keep up to date.
        rewind_after_s: How long a controller must insist on an older table.
        save: Told every table that was taken; it must not wait for a disk, or no later table would be followed.
    """

    def __init__(
        self,
        controllers: Controllers,
        instance: str,
        routes: Routes,
        *,
        save: Callable[[RouteTable], None],
        rewind_after_s: float = 5.0,
    ) -> None:
        self._controllers = controllers
        self._instance = instance
        self._routes = routes
        self._save = save
        self._rewind_after_s = rewind_after_s
        self._older_since: float | None = None
        self._connected = False

    async def run(self) -> None:
        """Watch until cancelled; a controller that is away is tried again and again."""
        backoff = Backoff(_FIRST_RETRY_S, _MOST_RETRY_S, _HEALTHY_S)
        while True:
            began, chosen = time.monotonic(), self._controllers.chosen
            reason = await self._until_left(chosen)
            self._note(connected=False, reason=f"{chosen.address}: {reason}")
            self._controllers.move_on(chosen)
            await asyncio.sleep(backoff.next_delay_s(time.monotonic() - began, random.random()))  # noqa: S311 - jitter

    async def _until_left(self, chosen: Controller) -> str:
        """Follow one controller until its stream ends, or until another one is chosen; return why."""
        following = asyncio.create_task(self._follow(chosen))
        leaving = asyncio.create_task(chosen.left.wait())
        try:
            await asyncio.wait({following, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return following.result() if following.done() else "it does not answer"
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        except InvalidRequest as error:
            return error.message
        finally:
            for task in (following, leaving):
                task.cancel()
            await asyncio.gather(following, leaving, return_exceptions=True)

    async def _follow(self, chosen: Controller) -> str:
        """Follow one stream and return why it ended."""
        stub = routes_pb2_grpc.RouteServiceStub(chosen.channel)
        # Better a table that may be behind than none: a gateway that knows no route can serve nobody.
        metadata = ((ANY_CONTROLLER, "1"),) if self._routes.table is None else ()
        call = stub.WatchRoutes(routes_pb2.WatchRoutesRequest(instance=self._instance), metadata=metadata)
        try:
            async for message in call:
                self._note(connected=True)
                table = table_from(message)
                if not self._is_due(table):
                    await asyncio.sleep(self._rewind_after_s)
                    return "its table is older than the one in force"
                self._routes.replace(table)
                self._save(table)
            return "it ended the stream"
        finally:
            call.cancel()

    def _is_due(self, table: RouteTable) -> bool:
        present = self._routes.table
        if present is None or table.generation >= present.generation:
            self._older_since = None
            return True
        now = time.monotonic()
        if self._older_since is None:
            self._older_since = now
            _log.warning(
                "the controller's route table has generation %d and generation %d is in force; it is taken only if "
                "the controller still says so in %g s",
                table.generation,
                present.generation,
                self._rewind_after_s,
            )
            return False
        if now - self._older_since < self._rewind_after_s:
            return False
        _log.warning(
            "the controller's generations start again: its database was replaced; serving with its generation %d",
            table.generation,
        )
        self._older_since = None
        return True

    def _note(self, *, connected: bool, reason: str = "") -> None:
        if connected == self._connected:
            return
        self._connected = connected
        if connected:
            _log.info("route table: connected to the controller")
        else:
            _log.warning("route table: lost the controller (%s); serving with the last table", reason)
