"""Memory and the stream of the GPU that engines run on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from enginebuild.datatypes import Array
from services.core.errors import MissingDependency


class Buffer(Protocol):
    """Memory on the device for one tensor.

    Attributes:
        address: Where it is.
        shape: Its shape.
    """

    address: int
    shape: tuple[int, ...]

    def write(self, array: Array) -> None:
        """Copy an array of the same shape and type to the device, in the stream's order."""
        ...

    def read(self) -> Array:
        """Return what is there, after everything that was begun before."""
        ...


class Device(Protocol):
    """A GPU.

    Attributes:
        stream: Handle of the stream that everything runs in.
    """

    stream: int

    def allocate(self, shape: Sequence[int], datatype: Any) -> Buffer:
        """Return memory for a tensor of a numpy datatype."""
        ...

    def synchronize(self) -> None:
        """Wait until all that was begun is done."""
        ...


class CudaDevice:
    """The first GPU, through PyTorch.

    Raises:
        MissingDependency: This PyTorch was built without CUDA, or for another driver.
    """

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise MissingDependency(
                f"PyTorch {torch.__version__} does not reach the GPU", "pip install a torch that is built for CUDA"
            )
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.stream: int = self._stream.cuda_stream

    def allocate(self, shape: Sequence[int], datatype: Any) -> Buffer:
        """Return memory for a tensor of a numpy datatype."""
        return _CudaBuffer(tuple(shape), datatype, self._stream)

    def synchronize(self) -> None:
        """Wait until all that was begun is done."""
        self._stream.synchronize()


class _CudaBuffer:
    def __init__(self, shape: tuple[int, ...], datatype: Any, stream: torch.cuda.Stream) -> None:
        example = torch.from_numpy(np.empty(shape, datatype))
        self.shape, self._stream = shape, stream
        # Pinned: the copies of a slice are asynchronous, as those of Triton are.
        self._host = torch.empty(shape, dtype=example.dtype, pin_memory=True)
        self._device = torch.empty(shape, dtype=example.dtype, device="cuda")
        self.address: int = self._device.data_ptr()

    def write(self, array: Array) -> None:
        self._host.numpy()[...] = array
        with torch.cuda.stream(self._stream):
            self._device.copy_(self._host, non_blocking=True)

    def read(self) -> Array:
        with torch.cuda.stream(self._stream):
            self._host.copy_(self._device, non_blocking=True)
        self._stream.synchronize()
        return self._host.numpy().copy()
