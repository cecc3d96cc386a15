"""Whether there is a GPU, asked of the driver itself: without one TensorRT does not fail, it crashes the process.

``python -m enginebuild.targets.tensorrt.gpu`` prints it, or ends with 3 and what is missing.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass

from services.core.errors import MissingDependency

_LIBRARY = "libcuda.so.1"
# Of cuda.h: CUresult and CUdevice_attribute.
_SUCCESS = 0
_MAJOR, _MINOR = 75, 76
_NAME_BYTES = 256
REMEDY = "use a machine with an NVIDIA driver (nvidia-smi shows it), or --target onnxruntime"


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU that engines are built for.

    Attributes:
        name: As the driver calls it.
        major: Compute capability before the point.
        minor: Compute capability behind it.
    """

    name: str
    major: int
    minor: int

    @property
    def compute_capability(self) -> str:
        """As NVIDIA writes it: ``9.0``."""
        return f"{self.major}.{self.minor}"

    @property
    def has_bf16(self) -> bool:
        """Whether its tensor cores know BF16: Ampere and later."""
        return self.major >= 8  # noqa: PLR2004 - compute capability 8.0 is Ampere

    @property
    def has_int8(self) -> bool:
        """Whether its tensor cores know INT8: Turing and later, and Pascal's dp4a."""
        return (self.major, self.minor) >= (6, 1)


def find_gpu(load: Callable[[str], ctypes.CDLL] = ctypes.CDLL) -> Gpu:
    """Return the first GPU.

    Args:
        load: Loads a shared library.

    Raises:
        MissingDependency: There is no driver, or it knows no GPU.
    """
    try:
        cuda = load(_LIBRARY)
    except OSError as error:
        raise MissingDependency(f"no NVIDIA driver: {_LIBRARY} cannot be loaded", REMEDY) from error
    if (code := cuda.cuInit(0)) != _SUCCESS:
        raise MissingDependency(f"the NVIDIA driver does not start: cuInit gives {code}", REMEDY)
    device = ctypes.c_int()
    if (code := cuda.cuDeviceGet(ctypes.byref(device), 0)) != _SUCCESS:
        raise MissingDependency(f"the NVIDIA driver knows no GPU: cuDeviceGet gives {code}", REMEDY)
    name = ctypes.create_string_buffer(_NAME_BYTES)
    major, minor = ctypes.c_int(), ctypes.c_int()
    codes = (
        cuda.cuDeviceGetName(name, _NAME_BYTES, device),
        cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device),
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device),
    )
    if any(codes):
        raise MissingDependency(f"the NVIDIA driver does not describe its GPU: {codes}", REMEDY)
    return Gpu(name.value.decode(errors="replace"), major.value, minor.value)


def main(find: Callable[[], Gpu] = find_gpu) -> int:
    """Print the GPU, or what is missing."""
    try:
        gpu = find()
    except MissingDependency as error:
        sys.stderr.write(f"{error.message}; {error.remedy}\n")
        return 3
    sys.stdout.write(f"{gpu.name}, compute capability {gpu.compute_capability}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
