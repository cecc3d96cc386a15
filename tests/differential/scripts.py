"""Generated requests that belong together: sequences of a stateful model, streams with decoupled models among them."""

from __future__ import annotations

import itertools
import struct
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from tests.differential import grpc_forms, rest
from tests.differential.asks import Ask, Input, valid
from tests.differential.grpc_forms import GrpcRequest
from tests.differential.rest import RestRequest

# Sequences of one example must not meet those of another one.
_serial = itertools.count(1)


def _step(sequence: Any, value: int, flags: dict[str, Any]) -> Ask:
    parameters = {**flags} if sequence is None else {"sequence_id": sequence, **flags}
    return Ask("sequence", "1", None, (Input("VALUE", "INT32", (1, 1), struct.pack("<i", value)),), (), parameters)


@st.composite
def sequences(draw: st.DrawFn) -> list[RestRequest | GrpcRequest]:
    """Return the requests of two sequences, mixed, some of them with something wrong; each is ended by the last two."""
    serial = next(_serial)
    names: list[Any] = draw(st.sampled_from([[serial, (1 << 62) + serial], [f"größe {serial}", f"{serial}"]]))
    flag = st.sampled_from([None, None, True, False])
    steps = []
    for _ in range(draw(st.integers(1, 5))):
        sequence = draw(st.sampled_from([*names, *names, *names, None, 0, "", -1, 1.5]))
        flags = {f"sequence_{name}": draw(flag) for name in ("start", "end")}
        steps.append(_step(sequence, draw(st.integers(-5, 5)), {k: v for k, v in flags.items() if v is not None}))
    # The ends in a form that nothing can be wrong with: a sequence that stays takes one of the model's few places.
    ends = [_step(name, 1, {"sequence_start": True, "sequence_end": True}) for name in names]
    plain = [draw(grpc_forms.inference(st.just(end), raw=True, damaged=False)) for end in ends]
    return [*(draw(_form(step)) for step in steps), *plain]


@st.composite
def _form(draw: st.DrawFn, ask: Ask) -> RestRequest | GrpcRequest:
    if draw(st.booleans()):
        return draw(rest.inference(st.just(ask), binary=False, damaged=False))
    return draw(grpc_forms.inference(st.just(ask), raw=True, damaged=False))


@st.composite
def _repeats(draw: st.DrawFn) -> Ask:
    count = draw(st.sampled_from([0, 1, 2, 5, -1, -3]))
    return Ask(
        "repeat", draw(st.sampled_from(["", "1"])), None, (Input("COUNT", "INT32", (1,), struct.pack("<i", count)),)
    )


@st.composite
def streams(draw: st.DrawFn) -> GrpcRequest:
    """Return a ``ModelStreamInfer`` call of a few requests, each with an id, decoupled models among them."""
    asks = draw(st.lists(st.one_of(_repeats(), _repeats(), valid), min_size=1, max_size=4))
    messages = []
    for number, ask in enumerate(asks):
        request = grpc_forms.message(replace(ask, id=f"request {number}"), raw=draw(st.booleans()))
        if draw(st.booleans()):
            request.parameters["triton_enable_empty_final_response"].bool_param = draw(st.booleans())
        messages.append(request.SerializeToString())
    return GrpcRequest("ModelStreamInfer", tuple(messages), None, tuple(ask.model for ask in asks))


@st.composite
def decoupled_without_stream(draw: st.DrawFn) -> RestRequest | GrpcRequest:
    """Return a request to a decoupled model that is sent alone."""
    return draw(_form(draw(_repeats())))


@st.composite
def raw_bodies(draw: st.DrawFn) -> RestRequest:
    """Return a request whose whole body is the only input."""
    model = draw(
        st.sampled_from(["vector", "matrix", "text", "texts", "scalar", "faulty", "labelled", "pair", "nobody"])
    )
    body = draw(st.one_of(st.sampled_from([b"", b"\0" * 4, b"\0" * 8, b"\0" * 12, b"\0" * 5]), st.binary(max_size=13)))
    version = draw(st.sampled_from(["", "", "/versions/1", "/versions/7"]))
    return RestRequest("POST", f"/v2/models/{model}{version}/infer", ((rest.LENGTH, "0"),), body)
