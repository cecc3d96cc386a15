"""The Tritons of a group, each with its connections, as their addresses come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from services.core.replica_address import DnsName, ReplicaAddress, Targets
from services.triton.http import HttpPool
from services.triton.layout import RepositoryLayout
from services.triton.model_control import GrpcModelControl
from services.triton.replicas.resolver import LookUp, Resolver, look_up
from services.triton.replicas.settings import ReplicaSettings
from services.triton.triton_model_server import TritonModelServer
from services.triton.triton_upstream import TritonUpstream
from services.triton.trust import Trust

_CONNECTIONS = 8


class TritonConnections:
    """One Triton's ``ModelServer`` with its connections; make it on the event loop that uses it.

    Args:
        address: Where it is; nothing is connected yet.
        repository: The repository that it serves.
        trust: Looks at every version before it is loaded; default asks for no signature.
        permit: As in ``GrpcModelControl``.
    """

    def __init__(
        self,
        address: ReplicaAddress,
        repository: RepositoryLayout,
        trust: Trust | None = None,
        permit: Callable[[], object] = lambda: None,
    ) -> None:
        self._pool = HttpPool(address.host, address.http_port, max_connections=_CONNECTIONS)
        self._control = GrpcModelControl(address.grpc_target, permit)
        self.server = TritonModelServer(self._pool, self._control, repository, trust=trust)
        self.upstream = TritonUpstream(self._pool)

    async def aclose(self) -> None:
        """Close them; what is under way ends with ``Unavailable``."""
        await self._control.aclose()
        await self._pool.aclose()


class TritonMembers:
    """The ``Members`` that are Tritons.

    Args:
        targets: Their addresses, or the name that has them.
        repository: The repository that all of them serve.
        look_up: Asks for a name's addresses.
        trust: Looks at every version before it is loaded.
        permit: As in ``GrpcModelControl``.
    """

    def __init__(
        self,
        targets: Targets,
        repository: RepositoryLayout,
        look_up: LookUp = look_up,
        trust: Trust | None = None,
        permit: Callable[[], object] = lambda: None,
    ) -> None:
        self._addresses: list[ReplicaAddress] = []
        self._resolver: Resolver | None = None
        if isinstance(targets, DnsName):
            self._resolver = Resolver(targets, ReplicaSettings(), self._follow, look_up)
        else:
            self._follow(list(targets))
        self._repository = repository
        self._trust = trust
        self._permit = permit
        self._known: dict[ReplicaAddress, TritonConnections] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Follow a name's addresses until cancelled."""
        if self._resolver is not None:
            await self._resolver.run()

    def now(self) -> Mapping[str, TritonModelServer]:
        """Return the replicas of this moment by name."""
        return {name: connections.server for name, connections in self._present().items()}

    def upstreams(self) -> Mapping[str, TritonUpstream]:
        """Return the same, to send them requests."""
        return {name: connections.upstream for name, connections in self._present().items()}

    def addresses(self) -> list[ReplicaAddress]:
        """Return where the replicas of this moment are."""
        return list(self._addresses)

    def _present(self) -> dict[str, TritonConnections]:
        present = self._addresses
        for address in set(self._known) - set(present):
            self._close(self._known.pop(address))
        for address in present:
            if address not in self._known:
                self._known[address] = TritonConnections(address, self._repository, self._trust, self._permit)
        return {address.name: self._known[address] for address in present}

    async def aclose(self) -> None:
        """Close every connection."""
        for connections in self._known.values():
            self._close(connections)
        self._known.clear()
        await asyncio.gather(*self._closing)

    def _follow(self, addresses: list[ReplicaAddress]) -> None:
        self._addresses = addresses

    def _close(self, connections: TritonConnections) -> None:
        task = asyncio.create_task(connections.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
