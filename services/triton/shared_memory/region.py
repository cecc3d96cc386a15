"""An arena as one Triton knows it: registered, or not; and the large inputs of requests in it.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_shared_memory.md
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from services.core.errors import PenstockError, UpstreamFailure
from services.core.inference import InferRequest
from services.core.tensor import Tensor
from services.triton.shared_memory.arena import DIRECTORY, PREFIX, Arena, Place
from services.triton.shared_memory.settings import SharedMemorySettings

_OK = 200
_LOST = b"Unable to find shared memory region"
# What a model's kernels may read in one step.
_ALIGNMENT = 64
_FAREWELL_S = 0.5
_OFTEN_S = 10.0

_log = logging.getLogger(__name__)


class Ask(Protocol):
    """Asks Triton something that is no inference."""

    async def __call__(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body of the answer to a GET, or with a body to a POST; raises ``PenstockError``."""
        ...


class InMemory:
    """Where the large inputs of one request are; ends with ``free`` or ``rest``, once.

    Attributes:
        region: What Triton calls the memory.
        begins: For each input where it begins, or None for one that goes through the socket.
    """

    __slots__ = ("_place", "begins", "region")

    def __init__(self, region: str, place: Place, begins: Sequence[int | None]) -> None:
        self.region = region
        self.begins = begins
        self._place = place

    def free(self) -> None:
        """Triton has answered: it reads nothing any more."""
        self._place.free()

    def rest(self) -> None:
        """Triton may still be reading."""
        self._place.rest()


class Region:
    """One arena at one Triton.

    Args:
        arena: The worker's memory.
        ask: Asks this Triton.
        settings: Bounds.
    """

    def __init__(self, arena: Arena, ask: Ask, settings: SharedMemorySettings) -> None:
        self._arena = arena
        self._ask = ask
        self._settings = settings
        self._name = arena.key[1:]
        self._registered = False
        self._known = False  # whether Triton may know it
        self._task: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._again_at = 0.0
        self._lost_at = -_OFTEN_S
        self._closed = False

    def place(self, request: InferRequest) -> InMemory | None:
        """Copy the large inputs of a request into the memory; None where it goes through the socket.

        A request of a sequence does: it changes the model's state whatever becomes of its answer.
        """
        least = self._settings.min_input_bytes
        large = [t for t in request.inputs if len(t.data) >= least and t.datatype != "BYTES"]
        if not large or request.sequence is not None:
            return None
        if not self._registered:
            self._register_soon()
            return None
        place = self._arena.take(sum([len(tensor.data) + _ALIGNMENT for tensor in large]))
        if place is None:
            return None
        return InMemory(self._name, place, _copied(request.inputs, large, place))

    def lost(self, status: int, body: bytes) -> bool:
        """Whether an answer says that Triton does not know the memory, such as one that began anew."""
        if status == _OK or _LOST not in body or self._name.encode() not in body:
            return False
        now = asyncio.get_running_loop().time()
        self._registered = False
        # Once is a Triton that began anew; again and again is something else, such as several behind one address.
        self._again_at = now + self._settings.retry_s if now - self._lost_at < _OFTEN_S else 0.0
        self._lost_at = now
        return True

    async def aclose(self) -> None:
        """Tell Triton that the memory is not used any more, if nothing can be reading it."""
        self._closed = True
        tasks = [task for task in (self._task, self._tidying) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._registered = False
        if self._known and self._arena.is_quiet:
            try:
                async with asyncio.timeout(_FAREWELL_S):
                    self._known = False
                    await self._ask(f"v2/systemsharedmemory/region/{self._name}/unregister", b"")
            except (PenstockError, TimeoutError) as error:
                _log.info("shared memory region %s stays registered: %s", self._name, error)

    def _register_soon(self) -> None:
        loop = asyncio.get_running_loop()
        if self._task is None and not self._closed and loop.time() >= self._again_at and self._arena.open():
            self._again_at = loop.time() + self._settings.retry_s
            self._task = loop.create_task(self._register(), name="registration of shared memory")
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("large tensors go through the socket: %s", error)

    async def _register(self) -> None:
        wanted = orjson.dumps({"key": self._arena.key, "offset": 0, "byte_size": self._arena.size})
        self._known = True
        status, body = await self._ask(f"v2/systemsharedmemory/region/{self._name}/register", wanted)
        if status != _OK and b"already in manager" not in body:
            raise UpstreamFailure(f"Triton cannot open {self._arena.key}: {body[:200].decode('utf-8', 'replace')}")
        self._registered = True
        if self._tidying is None:
            self._tidying = asyncio.get_running_loop().create_task(self._tidy(), name="shared memory of former workers")
            self._tidying.add_done_callback(self._tidied)

    def _tidied(self, task: asyncio.Task[None]) -> None:
        self._tidying = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.info("the shared memory of former workers stays registered: %s", error)

    async def _tidy(self) -> None:
        """Unregister what workers left that are gone, once nobody can be reading it any more."""
        abandoned = await self._abandoned()
        if abandoned:
            await asyncio.sleep(self._settings.rest_s)
            for name in abandoned & await self._abandoned():
                await self._ask(f"v2/systemsharedmemory/region/{name}/unregister", b"")

    async def _abandoned(self) -> set[str]:
        status, body = await self._ask("v2/systemsharedmemory/status")
        regions: Any = orjson.loads(body) if status == _OK else []
        names = {str(region["name"]) for region in regions}
        return {name for name in names if name.startswith(PREFIX) and not (DIRECTORY / name).exists()}


def _copied(inputs: Sequence[Tensor], large: Sequence[Tensor], place: Place) -> list[int | None]:
    begins: list[int | None] = []
    filled = 0
    for tensor in inputs:
        if any(tensor is one for one in large):
            end = filled + len(tensor.data)
            place.view[filled:end] = tensor.data
            begins.append(place.begin + filled)
            filled = -(-end // _ALIGNMENT) * _ALIGNMENT
        else:
            begins.append(None)
    return begins
