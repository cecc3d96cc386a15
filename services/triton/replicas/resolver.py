"""The present addresses of a DNS name, such as that of a headless service, looked up again and again."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

from services.core.replica_address import DnsName, ReplicaAddress
from services.triton.replicas.settings import ReplicaSettings

LookUp = Callable[[str], Awaitable[list[str]]]

_log = logging.getLogger(__name__)


async def look_up(name: str) -> list[str]:
    """Return every address of a name, by the system's resolver in a thread of the event loop's.

    Raises:
        OSError: There is none, or nobody could say.
    """
    found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return sorted({str(address[0]) for *_, address in found})


class Resolver:
    """Follows a name. A look-up that fails changes nothing: the last answer holds, for the resolver has no better one.

    Args:
        name: The name.
        settings: How often, for how long, how many.
        found: Told of every answer.
        look_up: Asks the system.
    """

    def __init__(
        self,
        name: DnsName,
        settings: ReplicaSettings,
        found: Callable[[list[ReplicaAddress]], None],
        look_up: LookUp = look_up,
    ) -> None:
        self._name = name
        self._settings = settings
        self._found = found
        self._look_up = look_up
        self._failing = False

    async def run(self) -> None:
        """Look up until cancelled."""
        while True:
            await self.once()
            await asyncio.sleep(self._settings.resolve_interval_s)

    async def once(self) -> None:
        """Look up once."""
        try:
            async with asyncio.timeout(self._settings.resolve_timeout_s):
                hosts = await self._look_up(self._name.name)
        except (OSError, UnicodeError) as error:  # a TimeoutError is an OSError; a label that is too long is no name
            self._fails(str(error) or "no answer in time")
            return
        if not hosts:
            self._fails("it has no address")
            return
        self._failing = False
        most = self._settings.max_replicas
        if len(hosts) > most:
            _log.warning("%s has %d addresses; the first %d are used", self._name, len(hosts), most)
        self._found([self._name.at(host) for host in hosts[:most]])

    def _fails(self, why: str) -> None:
        if not self._failing:
            _log.warning("%s cannot be looked up: %s; the last answer holds", self._name, why)
        self._failing = True
