"""TensorRT as this machine has it: the GPU, the bindings, a stream. Found before anything else of a build is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from enginebuild.targets.tensorrt.bindings import ErrorLog, load_tensorrt
from enginebuild.targets.tensorrt.device import CudaDevice, Device
from enginebuild.targets.tensorrt.gpu import Gpu, find_gpu


@dataclass(frozen=True, slots=True)
class Machine:
    """What engines are built with and run on.

    Attributes:
        gpu: The GPU.
        trt: The module ``tensorrt``.
        device: Memory and stream.
        log: What TensorRT says.
    """

    gpu: Gpu
    trt: Any
    device: Device
    log: ErrorLog

    @property
    def version(self) -> str:
        """The version of TensorRT."""
        return str(self.trt.__version__)


def find_machine() -> Machine:
    """Return TensorRT on this machine.

    Raises:
        MissingDependency: There is no GPU, no TensorRT, or no PyTorch that reaches the GPU.
    """
    gpu = find_gpu()  # first: without a driver TensorRT does not refuse, it crashes
    trt = load_tensorrt()
    return Machine(gpu, trt, CudaDevice(), ErrorLog(trt))
