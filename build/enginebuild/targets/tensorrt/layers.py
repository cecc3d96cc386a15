"""What the engine inspector says of an engine's layers: which precision each got, and how long it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from services.core.errors import BuildFailed
from services.core.records.engine_record import EngineLayerEntry

# By how the inspector writes datatypes, alone ("Half") or with a layout ("Row major linear FP16 format").
_DATATYPES = {
    "float": "fp32",
    "half": "fp16",
    "fp32": "fp32",
    "fp16": "fp16",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "int8": "int8",
    "fp8": "fp8",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
    "uint8": "uint8",
}


def layers_of(information: str, times_ms: Mapping[str, float]) -> tuple[EngineLayerEntry, ...]:
    """Return the layers, slowest first.

    Args:
        information: The inspector's JSON.
        times_ms: Milliseconds by layer.

    Raises:
        BuildFailed: It is not the JSON of an engine with detailed profiling verbosity.
    """
    try:
        found = [_entry(layer, times_ms) for layer in json.loads(information)["Layers"]]
    except (ValueError, KeyError, TypeError) as error:
        raise BuildFailed(f"the engine inspector's report has another form: {type(error).__name__}: {error}") from error
    return tuple(sorted(found, key=lambda layer: -layer.milliseconds))


def _entry(layer: Mapping[str, Any], times_ms: Mapping[str, float]) -> EngineLayerEntry:
    name = str(layer["Name"])
    return EngineLayerEntry(
        name=name,
        kind=str(layer.get("LayerType", "unknown")),
        inputs=_datatypes(layer.get("Inputs", ())),
        outputs=_datatypes(layer.get("Outputs", ())),
        milliseconds=round(times_ms.get(name, 0.0), 6),
    )


def _datatypes(tensors: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the precisions of a layer's tensors, each once."""
    return tuple(sorted({_datatype(tensor) for tensor in tensors}))


def _datatype(tensor: Mapping[str, Any]) -> str:
    words = str(tensor.get("Datatype") or tensor.get("Format/Datatype") or tensor.get("Format") or "unknown")
    known = (_DATATYPES.get(word.strip("(),.:").lower()) for word in words.split())
    return next((name for name in known if name is not None), words)
