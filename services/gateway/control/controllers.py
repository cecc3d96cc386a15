"""The controllers that a worker knows, and the one that it follows now.

Only the one that leads takes reports and streams routes; the others refuse at once. So a worker goes round until it is
not refused. Each controller has its channel for as long as the worker lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.gateway.control.channel import controller_channel

# Metadata of a worker that has no route table yet: it takes one from a follower too.
ANY_CONTROLLER = "penstock-any-controller"


@dataclass(frozen=True, slots=True)
class Controller:
    """One choice of a controller.

    Attributes:
        address: HOST:PORT.
        channel: gRPC channel to it.
        left: Set when another one is chosen.
    """

    address: str
    channel: Any
    left: asyncio.Event = field(default_factory=asyncio.Event)


class Controllers:
    """Goes round the controllers. Make it on the event loop that uses it.

    Args:
        addresses: HOST:PORT of each, at least one.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = list(addresses)
        self._channels = [controller_channel(address) for address in self._addresses]
        self._place = 0
        self.chosen = Controller(self._addresses[0], self._channels[0])

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._addresses)

    def move_on(self, tried: Controller) -> None:
        """Choose the next controller, unless another one than ``tried`` was chosen meanwhile, or there is only one."""
        if tried is not self.chosen or len(self._addresses) == 1:
            return
        self._place = (self._place + 1) % len(self._addresses)
        self.chosen = Controller(self._addresses[self._place], self._channels[self._place])
        tried.left.set()

    async def aclose(self) -> None:
        """Close every channel."""
        for channel in self._channels:
            await channel.close()
