"""Request parameters: the ones that the gateway acts on, and which of the others Triton would take.

``routing_key`` is ours and goes no further. ``timeout`` (microseconds) is Triton's and bounds the request here as well.
The rest is Triton's: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_parameters.md
"""

from __future__ import annotations

import math
from typing import NamedTuple

from services.core.errors import InvalidRequest
from services.core.inference import InferRequest, Parameter
from services.gateway.limits import Limits

ROUTING_KEY = "routing_key"
_RESERVED_PREFIX = "triton_"
_RESERVED_OPEN = "triton_enable_empty_final_response"
_INT64_MIN, _INT64_MAX, _UINT64_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1
_UNSIGNED = ("timeout", "priority")
_BOOLEAN = ("sequence_start", "sequence_end", _RESERVED_OPEN)
_SEQUENCE_ID = "sequence_id"
_US_PER_S = 1_000_000


class Wishes(NamedTuple):
    """What a client asked of the gateway itself, by parameters.

    Attributes:
        key: Sticky routing key, or None. The id of a sequence is one too: its requests belong to one version.
        timeout_s: Seconds that the request may take, or None.
    """

    key: str | None
    timeout_s: float | None


NOTHING = Wishes(None, None)
_DEFAULTS = Limits()
# Characters of a name that is too long that a message shows.
_SHOWN = 40


def take(request: InferRequest, limits: Limits = _DEFAULTS) -> Wishes:
    """Check a request's parameters and take out the ones that are not for Triton.

    Raises:
        InvalidRequest: A parameter that Triton would refuse, or one beyond a limit.
    """
    parameters = request.parameters
    if len(parameters) > limits.max_parameters:
        raise InvalidRequest(f"the request has {len(parameters)} parameters; at most {limits.max_parameters} are taken")
    for name, value in parameters.items():
        if longer_than(name, limits.max_name_bytes):
            raise InvalidRequest(
                f"parameter '{name[:_SHOWN]}...' has a name of {len(name)} characters; at most "
                f"{limits.max_name_bytes} bytes are taken"
            )
        if "\0" in name:
            raise InvalidRequest(
                f"parameter {name[:_SHOWN]!r} has a NUL in its name, which ends it for Triton; leave it out"
            )
        if type(value) is str and longer_than(value, limits.max_parameter_bytes):
            raise InvalidRequest(
                f"parameter '{name}' is text of {len(value)} characters; at most {limits.max_parameter_bytes} bytes "
                "are taken"
            )
        if name != ROUTING_KEY:
            _check(name, value)
    key = request.key or _routing_key(parameters.pop(ROUTING_KEY, None))
    if parameters.get(_SEQUENCE_ID):
        request.sequence = str(parameters[_SEQUENCE_ID])
        key = key or request.sequence
    priority = parameters.get("priority")
    if isinstance(priority, int):
        request.priority = priority
    timeout_us = parameters.get("timeout")
    return Wishes(key, timeout_us / _US_PER_S if isinstance(timeout_us, int) and timeout_us else None)


def longer_than(text: str, most_bytes: int) -> bool:
    """Whether a text has more bytes in UTF-8 than this; cheap for a short one."""
    if len(text) * 4 <= most_bytes:
        return False
    return len(text) > most_bytes or len(text.encode("utf-8", "surrogatepass")) > most_bytes


def _routing_key(value: Parameter | None) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool | float):
        raise InvalidRequest(f"parameter '{ROUTING_KEY}' is {value!r}; expected text or an integer")
    return str(value)


def _check(name: str, value: Parameter) -> None:
    if name in _UNSIGNED:
        if type(value) is not int or not 0 <= value <= _UINT64_MAX:
            raise InvalidRequest(f"parameter '{name}' is {value!r}; expected an integer of 0 or more")
    elif name in _BOOLEAN:
        if not isinstance(value, bool):
            raise InvalidRequest(f"parameter '{name}' is {value!r}; expected true or false")
    elif name == _SEQUENCE_ID:
        if not isinstance(value, str) and (type(value) is not int or not 0 <= value <= _UINT64_MAX):
            raise InvalidRequest(f"parameter '{name}' is {value!r}; expected text or an integer of 0 or more")
    elif name.startswith(_RESERVED_PREFIX):
        raise InvalidRequest(f"parameter '{name}' is Triton's own: names with '{_RESERVED_PREFIX}' are reserved")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequest(f"parameter '{name}' is {value}; expected a finite number")
    elif type(value) is int and not _INT64_MIN <= value <= _INT64_MAX:
        raise InvalidRequest(f"parameter '{name}' is {value}; expected an integer that fits 64 bits")
