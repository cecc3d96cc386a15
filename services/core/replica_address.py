"""Where the replicas of Triton are: each ``HOST:HTTPPORT[/GRPCPORT[/MEMORYPORT]]``, or all ``dns:NAME:...``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.core.errors import ConfigurationError

DNS_PREFIX = "dns:"
_MAX_PORT = (1 << 16) - 1
_REPLICA = re.compile(
    r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^\s:/\[\]]+)):(?P<http>[0-9]{1,5})(?:/(?P<grpc>[0-9]{1,5})(?:/(?P<memory>[0-9]{1,5}))?)?"
)


@dataclass(frozen=True, slots=True)
class ReplicaAddress:
    """One Triton.

    Attributes:
        host: Name or address.
        http_port: Its HTTP port.
        grpc_port: Its gRPC port.
        memory_port: Where ``penstock triton``, or Triton's own metrics, say how much memory it has; None where nobody
            named it, and the places beside the HTTP port are tried.
    """

    host: str
    http_port: int
    grpc_port: int
    memory_port: int | None = None

    @classmethod
    def parse(cls, text: str, setting: str) -> ReplicaAddress:
        """Read ``HOST:HTTPPORT[/GRPCPORT[/MEMORYPORT]]``, an IPv6 host in brackets; by default gRPC has the next port.

        Raises:
            ConfigurationError: It is something else.
        """
        return cls(*_parts(text, text, setting))

    @property
    def name(self) -> str:
        """``HOST:HTTPPORT``: how metrics, logs and answers call it."""
        return _joined(self.host, self.http_port)

    @property
    def grpc_target(self) -> str:
        """``HOST:GRPCPORT``."""
        return _joined(self.host, self.grpc_port)

    def __str__(self) -> str:
        return f"{self.name}/{_further(self.grpc_port, self.memory_port)}"


@dataclass(frozen=True, slots=True)
class DnsName:
    """Every address that a name has, such as that of a headless service.

    Attributes:
        name: The name to look up.
        http_port: HTTP port of each replica.
        grpc_port: gRPC port of each.
        memory_port: As in ``ReplicaAddress``.
    """

    name: str
    http_port: int
    grpc_port: int
    memory_port: int | None = None

    @classmethod
    def parse(cls, text: str, setting: str) -> DnsName:
        """Read ``dns:NAME:HTTPPORT[/GRPCPORT[/MEMORYPORT]]``; errors as in ``ReplicaAddress.parse``."""
        return cls(*_parts(text, text.removeprefix(DNS_PREFIX), setting))

    def at(self, host: str) -> ReplicaAddress:
        """Return the replica at one of the name's addresses."""
        return ReplicaAddress(host, self.http_port, self.grpc_port, self.memory_port)

    def __str__(self) -> str:
        ports = _further(self.grpc_port, self.memory_port)
        return f"{DNS_PREFIX}{_joined(self.name, self.http_port)}/{ports}"


Targets = tuple[ReplicaAddress, ...] | DnsName


def parse_targets(texts: Sequence[str], setting: str) -> Targets:
    """Read a list of replicas, or one DNS name that stands for all of them.

    Raises:
        ConfigurationError: The list is empty, names one replica twice or mixes both forms, or an entry is neither.
    """
    if not texts:
        raise ConfigurationError(f"{setting} is empty; expected at least one HOST:HTTPPORT[/GRPCPORT[/MEMORYPORT]]")
    if any(text.startswith(DNS_PREFIX) for text in texts):
        if len(texts) > 1:
            raise ConfigurationError(
                f"{setting} has {len(texts)} entries one of them a DNS name; expected one DNS name or a list"
            )
        return DnsName.parse(texts[0], setting)
    found = tuple(ReplicaAddress.parse(text, setting) for text in texts)
    names = [address.name for address in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigurationError(f"{setting} names {', '.join(sorted(twice))} more than once; name each replica once")
    return found


def _parts(text: str, address: str, setting: str) -> tuple[str, int, int, int | None]:
    found = _REPLICA.fullmatch(address)
    if found is not None:
        http_port = int(found["http"])
        grpc_port = int(found["grpc"] or http_port + 1)
        memory_port = int(found["memory"]) if found["memory"] else None
        if all(0 < port <= _MAX_PORT for port in (http_port, grpc_port, memory_port) if port is not None):
            return found["v6"] or found["host"], http_port, grpc_port, memory_port
    raise ConfigurationError(
        f"{setting} is '{text}'; expected HOST:HTTPPORT, HOST:HTTPPORT/GRPCPORT or "
        f"HOST:HTTPPORT/GRPCPORT/MEMORYPORT, such as 127.0.0.1:18000/18001, or "
        f"{DNS_PREFIX}NAME:HTTPPORT for every address of a name, without http://"
    )


def _further(grpc_port: int, memory_port: int | None) -> str:
    return str(grpc_port) if memory_port is None else f"{grpc_port}/{memory_port}"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
