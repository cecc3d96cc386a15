"""The Python bindings of TensorRT, and what they say while they work."""

from __future__ import annotations

import importlib
from collections import deque
from typing import Any

from services.core.errors import MissingDependency

OLDEST, NEWEST = 10, 11
REMEDY = "pip install 'penstock[gpu]'"
_KEPT = 20
_SHOWN = 3


def load_tensorrt() -> Any:
    """Return the module ``tensorrt``; there must be a GPU, see ``find_gpu``.

    Raises:
        MissingDependency: It is not installed, its libraries do not load, or it is of a version that nobody tried.
    """
    try:
        trt = importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise MissingDependency(f"TensorRT cannot be imported: {error}", REMEDY) from error
    if not OLDEST <= major_version(trt) <= NEWEST:
        raise MissingDependency(
            f"TensorRT {trt.__version__} found, {OLDEST} to {NEWEST} expected", "pip install 'tensorrt>=10.9,<12'"
        )
    return trt


def major_version(trt: Any) -> int:
    """Return the first number of TensorRT's version."""
    return int(str(trt.__version__).partition(".")[0])


class ErrorLog:
    """A logger that keeps TensorRT's last errors: the only place where it tells why something failed.

    Attributes:
        logger: To be given to TensorRT; it must live as long as what it was given to.
    """

    def __init__(self, trt: Any) -> None:
        self._errors: deque[str] = deque(maxlen=_KEPT)
        self.logger = _logger(trt, self._errors)

    @property
    def text(self) -> str:
        """The last errors, for a message."""
        return "; ".join(list(self._errors)[-_SHOWN:]) or "TensorRT gave no reason"


def _logger(trt: Any, errors: deque[str]) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc] # a class of the module that was given
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                errors.append(message)

    return Logger()
