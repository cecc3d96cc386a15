"""A serialised engine, loaded and run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from enginebuild.datatypes import Arrays
from enginebuild.runtime import batch
from enginebuild.targets.tensorrt.bindings import ErrorLog
from enginebuild.targets.tensorrt.device import Buffer, Device
from services.core.errors import BuildFailed

_PROFILED_RUNS = 20


class Engine:
    """One engine with one execution context; not for several threads.

    Args:
        trt: The module ``tensorrt``.
        plan: The serialised engine.
        name: What messages call it.
        device: Where it runs.
        log: What TensorRT says.

    Raises:
        BuildFailed: TensorRT cannot load it, or an output's shape depends on values.
    """

    def __init__(self, trt: Any, plan: bytes, name: str, device: Device, log: ErrorLog) -> None:
        self._trt, self._name, self._device, self._log = trt, name, device, log
        self._runtime = trt.Runtime(log.logger)  # must outlive its engines
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise BuildFailed(f"TensorRT cannot load {name}: {log.text}")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise BuildFailed(f"TensorRT has no memory to run {name}: {log.text}")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self._inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self._outputs = [name for name in names if name not in self._inputs]
        self._buffers: dict[str, Buffer] = {}

    def run(self, inputs: Arrays) -> Arrays:
        """Return the outputs for one batch.

        Raises:
            BuildFailed: TensorRT cannot run it: its shape lies outside the profile, or the GPU fails.
        """
        self._prepare(inputs)
        self._enqueue(inputs)
        return {name: self._buffers[name].read() for name in self._outputs}

    def run_all(self, inputs: Arrays, batch_size: int) -> Arrays:
        """Return the outputs for all samples, computed ``batch_size`` at a time."""
        samples = len(next(iter(inputs.values())))
        parts = [self.run(batch(inputs, start, batch_size)) for start in range(0, samples, batch_size)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def once(self, inputs: Arrays) -> Callable[[], object]:
        """Return a function that runs one fixed batch, to the GPU and back: what a request costs when served."""
        self._prepare(inputs)

        def run() -> Arrays:
            self._enqueue(inputs)
            return {name: self._buffers[name].read() for name in self._outputs}

        return run

    def layer_times(self, inputs: Arrays) -> dict[str, float]:
        """Return the mean time of each layer in milliseconds, by its name, for one batch."""
        times: dict[str, float] = defaultdict(float)
        self._prepare(inputs)
        self._enqueue(inputs)  # the first run loads kernels
        self._device.synchronize()
        profiler = _profiler(self._trt, times)
        self._context.profiler = profiler  # from now on each run waits for itself and reports
        for _ in range(_PROFILED_RUNS):
            self._enqueue(inputs)
            self._device.synchronize()
        return {name: total / _PROFILED_RUNS for name, total in times.items()}

    def information(self) -> str:
        """Return what the engine inspector says of every layer, as JSON."""
        inspector = self._engine.create_engine_inspector()
        inspector.execution_context = self._context
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def _prepare(self, inputs: Arrays) -> None:
        """Set the shapes, and give every tensor memory of its size."""
        for name in self._inputs:
            if not self._context.set_input_shape(name, inputs[name].shape):
                raise BuildFailed(
                    f"{self._name} does not take {list(inputs[name].shape)} for '{name}': {self._log.text}"
                )
            self._give(name, inputs[name].shape)
        for name in self._outputs:
            shape = tuple(self._context.get_tensor_shape(name))
            if -1 in shape:
                raise BuildFailed(f"{self._name}: the shape of output '{name}' depends on values: {list(shape)}")
            self._give(name, shape)

    def _give(self, name: str, shape: tuple[int, ...]) -> None:
        there = self._buffers.get(name)
        if there is None or there.shape != shape:
            datatype = self._trt.nptype(self._engine.get_tensor_dtype(name))
            self._buffers[name] = self._device.allocate(shape, datatype)
        self._context.set_tensor_address(name, self._buffers[name].address)

    def _enqueue(self, inputs: Arrays) -> None:
        for name in self._inputs:
            self._buffers[name].write(inputs[name])
        if not self._context.execute_async_v3(self._device.stream):
            raise BuildFailed(f"TensorRT cannot run {self._name}: {self._log.text}")


def _profiler(trt: Any, times: dict[str, float]) -> Any:
    class Profiler(trt.IProfiler):  # type: ignore[misc] # a class of the module that was given
        def __init__(self) -> None:
            super().__init__()

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times[layer_name] += ms

    return Profiler()
