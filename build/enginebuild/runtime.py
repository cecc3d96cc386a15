"""ONNX Runtime as the served model will run: on the CPU, with the recipe's number of threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from enginebuild.datatypes import Arrays
from services.core.errors import BuildFailed

PROVIDER = "CPUExecutionProvider"
_SEVERITY_ERROR = 3


class OnnxModel:
    """One ONNX file, ready to run."""

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _SEVERITY_ERROR
        # Spinning threads would take the CPU that the other model of a comparison is measured on.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.path = path
        self.threads = threads
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])
        except Exception as error:  # onnxruntime's own classes share no base but Exception
            raise BuildFailed(f"ONNX Runtime cannot load {path.name}: {error}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Arrays) -> Arrays:
        """Return the outputs for one batch.

        Raises:
            BuildFailed: ONNX Runtime cannot run it.
        """
        try:
            found = self._session.run(self._outputs, inputs)
        except Exception as error:
            raise BuildFailed(f"ONNX Runtime cannot run {self.path.name}: {error}") from error
        return dict(zip(self._outputs, found, strict=True))

    def run_all(self, inputs: Arrays, batch_size: int) -> Arrays:
        """Return the outputs for all samples, computed ``batch_size`` at a time."""
        samples = len(next(iter(inputs.values())))
        parts = [self.run(batch(inputs, start, batch_size)) for start in range(0, samples, batch_size)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def once(self, inputs: Arrays) -> Callable[[], object]:
        """Return a function that runs one fixed batch, with nothing else in it to be timed."""
        run, outputs = self._session.run, self._outputs
        return lambda: run(outputs, inputs)


def batch(inputs: Arrays, start: int, size: int) -> Arrays:
    """Return up to ``size`` samples from ``start`` on."""
    return {name: array[start : start + size] for name, array in inputs.items()}


def repeat_to(inputs: Arrays, size: int) -> Arrays:
    """Return exactly ``size`` samples, repeating them from the first where there are fewer."""
    samples = len(next(iter(inputs.values())))
    return {name: array[np.arange(size) % samples] for name, array in inputs.items()}
