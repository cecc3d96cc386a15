"""A Triton's answers about shared memory, as far as a region asks for them, without a socket."""

from __future__ import annotations

import asyncio

import orjson

from services.core.errors import PenstockError

Reply = tuple[int, bytes] | PenstockError
REGISTER, UNREGISTER, STATUS = "register", "unregister", "status"


class ScriptedAsk:
    """An ``Ask`` that plays the replies it was given, and otherwise does what it is asked.

    Attributes:
        asked: Every question: ``status``, ``register NAME`` or ``unregister NAME``.
        bodies: What was posted with them; None for a GET.
        regions: Names that are registered.
        replies: Next replies to a kind of question, before it does anything.
        open: Cleared, every question waits.
        waiting: Questions that wait now.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.bodies: list[bytes | None] = []
        self.regions: set[str] = set()
        self.replies: dict[str, list[Reply]] = {REGISTER: [], UNREGISTER: [], STATUS: []}
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = 0

    async def __call__(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        *_, name, kind = path.split("/")
        self.asked.append(kind if kind == STATUS else f"{kind} {name}")
        self.bodies.append(body)
        self.waiting += 1
        try:
            await self.open.wait()
        finally:
            self.waiting -= 1
        if self.replies[kind]:
            reply = self.replies[kind].pop(0)
            if isinstance(reply, PenstockError):
                raise reply
            return reply
        if kind == STATUS:
            return 200, orjson.dumps([{"name": name, "key": f"/{name}"} for name in sorted(self.regions)])
        if kind == REGISTER:
            self.regions.add(name)
        else:
            self.regions.discard(name)
        return 200, b""

    def count(self, kind: str) -> int:
        """Return how often something of this kind was asked."""
        return sum(question.split(" ")[0] == kind for question in self.asked)
