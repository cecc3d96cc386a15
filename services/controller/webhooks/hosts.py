"""Which hosts a person who may start a rollout can have the controller call."""

from __future__ import annotations

import asyncio
import fnmatch
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

Resolve = Callable[[str], Awaitable[Sequence[str]]]
# Where clouds hand out credentials to whoever asks from inside; IPv4's is link-local.
_METADATA = frozenset({ipaddress.ip_address("fd00:ec2::254")})


async def resolve(host: str) -> Sequence[str]:
    """Return the addresses of a host; none where its name is not known: the call itself will say so."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # the latter: a name that no host can have
        return ()
    return [str(address[0]) for _, _, _, _, address in found]


class AllowedHosts:
    """The hosts that webhooks may name. Link-local addresses never: metadata services of clouds are there.

    A name is looked up before each call, and by the connection once more: one who owns a name's server can answer them
    differently. Where people are not trusted that far, allow only hosts of your own.

    Args:
        patterns: Host names, with ``*`` for any part.
        resolve: Looks up addresses.
    """

    def __init__(self, patterns: Sequence[str] = ("*",), resolve: Resolve = resolve) -> None:
        self._patterns, self._resolve = tuple(pattern.lower() for pattern in patterns), resolve

    def problem(self, url: str) -> str:
        """Return why a URL may not be called by its name alone; empty where it may."""
        host = urlsplit(url).hostname or ""
        if not any(fnmatch.fnmatchcase(host, pattern) for pattern in self._patterns):
            allowed = ", ".join(self._patterns) or "none"
            return (
                f"host '{host}' is not among those that webhooks may call ({allowed}); "
                "controller.webhook_hosts (PENSTOCK_CONTROLLER_WEBHOOK_HOSTS) names them"
            )
        return _forbidden(host, [host])

    async def problem_now(self, url: str) -> str:
        """Return why a URL may not be called, by its name and by the addresses that it has now."""
        host = urlsplit(url).hostname or ""
        return self.problem(url) or _forbidden(host, await self._resolve(host))


def _forbidden(host: str, addresses: Sequence[str]) -> str:
    for text in addresses:
        try:
            address = ipaddress.ip_address(text.split("%")[0])
        except ValueError:
            continue
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_link_local or address in _METADATA:
            return f"host '{host}' is the link-local address {address}, which webhooks never call"
    return ""
