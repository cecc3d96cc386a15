"""Free ports, chosen below the range from which the kernel takes those of outgoing connections."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

from services.core.errors import PenstockError

_FIRST, _LAST = 15_000, 32_000
_MOST_TRIES = 1_000


def free_ports(count: int, among: range = range(_FIRST, _LAST)) -> list[int]:
    """Return that many ports in a row, from ``among``, that nothing listens on now.

    A port from the kernel's own range could become the near end of a connection, of a load generator for instance,
    before its server has started.

    Raises:
        PenstockError: None were found.
    """
    for _ in range(_MOST_TRIES):
        first = random.randrange(len(among) - count + 1)  # noqa: S311 - no secret
        ports = list(among[first : first + count])
        if _free(ports):
            return ports
    raise PenstockError(f"no {count} free ports in a row from {among[0]} to {among[-1]} on 127.0.0.1")


def _free(ports: list[int]) -> bool:
    with ExitStack() as held:
        for port in ports:
            one = held.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
