"""The tensor datatypes that a PyTorch network and ONNX Runtime share, by the Open Inference Protocol's names."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Datatype = Literal["BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"]
DATATYPES: tuple[str, ...] = get_args(Datatype)

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

_NUMPY: dict[str, str] = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}


def datatype_of(array: Array) -> str:
    """Return the datatype of an array, or numpy's own name for one that is not served."""
    return next((name for name, numpy in _NUMPY.items() if array.dtype == np.dtype(numpy)), array.dtype.name)


def is_floating(array: Array) -> bool:
    """Return whether an array can hold a NaN or an infinity."""
    return np.issubdtype(array.dtype, np.floating)
