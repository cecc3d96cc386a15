"""Requests that end or hang a Triton 2.51 and are therefore not sent to a bare one here.

Each filter has the name of the case in ``loadtest/hostile`` that shows why.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod

from tests.differential.asks import Ask
from tests.differential.grpc_forms import GrpcRequest
from tests.differential.rest import RestRequest


def _overflows(ask: Ask) -> bool:
    """Whether the dimensions that are not 0 have a product near 64 bits."""
    return any(prod(abs(dim) or 1 for dim in tensor.shape) >= 1 << 40 for tensor in ask.inputs)


def _promises_much(ask: Ask) -> bool:
    """Whether a shape announces far more than is there: Triton allocates it before it reads JSON data."""
    return any(prod(abs(dim) for dim in tensor.shape) > 1 << 20 for tensor in ask.inputs)


def _ranks_texts(ask: Ask) -> bool:
    """Whether classification is asked of an output of texts."""
    return any(wanted.classes and wanted.name == "BYTES" for wanted in ask.outputs)


def _ranks_nothing(ask: Ask) -> bool:
    """Whether classification is asked of an output that may have no elements."""
    return any(wanted.classes for wanted in ask.outputs) and any(0 in tensor.shape for tensor in ask.inputs)


FATAL: dict[str, Callable[[Ask], bool]] = {
    "dimensions that overflow": _overflows,
    "shape of gigabytes": _promises_much,
    "classification of texts": _ranks_texts,
    "classification of nothing": _ranks_nothing,
}


# In a damaged document, where ``about`` says what it was before.
_LARGE_SHAPE = re.compile(rb'"shape": \[[^\]]*\d{7}')


def is_mixed(request: RestRequest | GrpcRequest) -> bool:
    """Whether a stream has requests for a decoupled model and for others ("mixed stream")."""
    stream = isinstance(request, GrpcRequest) and request.method == "ModelStreamInfer"
    return stream and "repeat" in request.notes and set(request.notes) != {"repeat"}


def survivable(request: RestRequest | GrpcRequest) -> bool:
    """Whether a bare Triton survives a request."""
    if isinstance(request, RestRequest) and _LARGE_SHAPE.search(request.body):
        return False
    ask = request.about
    return ask is None or not any(is_fatal(ask) for is_fatal in FATAL.values())
