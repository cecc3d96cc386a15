"""Requests that end the servers that they are sent to. Pure: time is a parameter, in seconds.

A request whose connection broke without an answer on two replicas is remembered and not tried a third time. So is,
alas, a request that only happened to be there both times; whoever sends the same request all the time is protected by
a sample of those that were answered lately.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from services.core.inference import InferRequest

# Of a longer tensor both ends count, and its length: hashing a large one would hold up every other request.
_HASHED_BYTES = 256 * 1024


def digest_of(request: InferRequest, version: int) -> bytes:
    """Return what tells a request from others: model, version, tensors and requested outputs; not its id."""
    found = hashlib.blake2b(f"{request.model}\0{version}\0".encode("utf-8", "replace"), digest_size=16)
    for tensor in request.inputs:
        data = memoryview(tensor.data).cast("B") if len(tensor.data) else b""
        found.update(f"{tensor.name}\0{tensor.datatype}\0{tensor.shape}\0{len(data)}\0".encode("utf-8", "replace"))
        found.update(data[:_HASHED_BYTES])
        found.update(data[_HASHED_BYTES:][-_HASHED_BYTES:])
    for output in request.outputs:
        found.update(f"{output.name}\0{output.classes}\0".encode("utf-8", "replace"))
    return found.digest()


class PoisonMemory:
    """Digests of requests that broke two replicas, and of some that were answered.

    Args:
        memory_s: How long each is remembered.
        size: Most digests of each kind; the oldest make room.
    """

    def __init__(self, memory_s: float, size: int) -> None:
        self._memory_s = memory_s
        self._size = size
        self._poison: OrderedDict[bytes, float] = OrderedDict()
        self._answered: OrderedDict[bytes, float] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether any request is refused now: as long as none is, nobody needs a digest."""
        return bool(self._poison)

    def remember(self, digest: bytes, now: float) -> bool:
        """Note a request that broke two replicas; False if the same one was answered lately, and so is not to blame."""
        self.forget(now)
        if digest in self._answered or not self._memory_s:
            return False
        self._put(self._poison, digest, now)
        return True

    def answered(self, digest: bytes, now: float) -> None:
        """Note a request that was answered."""
        self.forget(now)
        self._put(self._answered, digest, now)

    def holds(self, digest: bytes, now: float) -> bool:
        """Whether this request is refused."""
        self.forget(now)
        return digest in self._poison

    def forget(self, now: float) -> None:
        """Drop what is old."""
        for memory in (self._poison, self._answered):
            while memory and now - next(iter(memory.values())) >= self._memory_s:
                memory.popitem(last=False)

    def _put(self, memory: OrderedDict[bytes, float], digest: bytes, now: float) -> None:
        memory[digest] = now
        memory.move_to_end(digest)
        if len(memory) > self._size:
            memory.popitem(last=False)
