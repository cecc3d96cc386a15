"""Which model versions take several requests as one without anybody noticing. Pure: Triton's configuration in.

A version qualifies if Triton itself would put its requests together (``dynamic_batching``) and its backend computes a
batch row by row, so that nobody can tell where one request ended and the next began. A Python model is handed each
request by itself and may do anything with it, so it has to say so: the parameter ``penstock_merging`` in its
``config.pbtxt``, ``on`` or ``off``, decides for any backend.
Source: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from services.core.inference import Merging
from services.triton.instances import instances_of
from services.triton.merging.settings import MergeSettings

PARAMETER = "penstock_merging"

# They put the rows of all requests into one tensor themselves.
_ROW_BY_ROW = frozenset({"onnxruntime", "openvino", "pytorch", "tensorflow", "tensorrt"})
_PLATFORMS = {
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
    "tensorrt_plan": "tensorrt",
}
_ON, _OFF = "on", "off"

_log = logging.getLogger(__name__)


def merging_of(config: Mapping[str, Any], settings: MergeSettings) -> Merging | None:
    """Return how requests for a version may be put together; None for not at all.

    Args:
        config: Triton's model configuration as JSON.
        settings: Bounds.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: It is not what Triton sends.
    """
    rows = min(int(config.get("max_batch_size", 0)), settings.max_rows)
    batching = config.get("dynamic_batching")
    if not settings.enabled or rows < 2 or batching is None or not _allowed(config):  # noqa: PLR2004 - two are merged
        return None
    preferred = {int(size) for size in batching.get("preferred_batch_size", ())}
    if preferred == {int(config["max_batch_size"])}:
        preferred = set()  # Triton writes this itself where nobody said anything
    sizes = tuple(sorted(size for size in preferred if 1 < size <= rows))
    if preferred and not sizes:
        return None
    return Merging(rows, sizes, max(1, instances_of(config)))


def _allowed(config: Mapping[str, Any]) -> bool:
    if _needs_them_apart(config):
        return False
    said = config.get("parameters", {}).get(PARAMETER, {}).get("string_value")
    if said not in (None, _ON, _OFF):
        _log.warning(
            "model '%s': parameter %s in config.pbtxt is '%s'; expected 'on' or 'off': its requests are not merged",
            config.get("name"),
            PARAMETER,
            said,
        )
    backend = config.get("backend") or _PLATFORMS.get(config.get("platform", ""), "")
    return said == _ON or (said is None and backend in _ROW_BY_ROW)


def _needs_them_apart(config: Mapping[str, Any]) -> bool:
    """Whether where a request begins and ends means something to the model, or to Triton on its way there."""
    return bool(
        config.get("model_transaction_policy", {}).get("decoupled")
        or config.get("response_cache", {}).get("enable")  # a request is found again by its whole contents
        or config.get("batch_input")
        or config.get("batch_output")
        or "sequence_batching" in config
        or "ensemble_scheduling" in config
        or any(tensor.get("allow_ragged_batch") or tensor.get("is_shape_tensor") for tensor in config.get("input", ()))
        or any(tensor.get("is_shape_tensor") for tensor in config.get("output", ()))
    )
