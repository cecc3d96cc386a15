"""The intended differences between a bare Triton and the gateway: one table, each with its reason and an example.

A rule takes the answer of the bare Triton and returns what the gateway gives instead; whatever no rule explains is a
fault. ARCHITECTURE.md has the same list in words ("Intended differences to Triton").
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import service_pb2

from tests.differential import amendments as a
from tests.differential.amendments import Request
from tests.differential.answers import Seen
from tests.differential.asks import Ask, Input, Wanted
from tests.differential.grpc_forms import GrpcRequest, message
from tests.differential.rest import LENGTH, RestRequest


@dataclass(frozen=True)
class Rule:
    """One intended difference.

    Attributes:
        name: What the gateway does.
        reason: Why, and what Triton does.
        amend: Turns the direct answer into the one expected of the gateway.
        example: A request that shows it.
    """

    name: str
    reason: str
    amend: Callable[[Request, Seen, Seen], Seen]
    example: Request


def _get(path: str) -> RestRequest:
    return RestRequest("GET", path)


def _tensor(name: str, datatype: str, shape: list[int], data: list[Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data, **more}


_CODE = _tensor("CODE", "INT32", [1], [0])


def _post(
    model: str, *inputs: dict[str, Any], note: str = "", headers: tuple[tuple[str, str], ...] = (), **more: Any
) -> RestRequest:
    body = json.dumps({"inputs": list(inputs), **more}).encode()
    return RestRequest("POST", f"/v2/models/{model}/infer", headers, body, None, (note,) if note else ())


def _text(model: str, text: bytes, note: str = "") -> RestRequest:
    return RestRequest("POST", f"/v2/models/{model}/infer", (), text, None, (note,))


def _call(ask: Ask, *notes: str, spoil: Callable[[Any], object] = lambda _found: None) -> GrpcRequest:
    found = message(ask, raw=True)
    spoil(found)
    return GrpcRequest("ModelInfer", (found.SerializeToString(),), ask, notes)


def _code(code: int = 0, **more: Any) -> Ask:
    return Ask("faulty", inputs=(Input("CODE", "INT32", (1,), code.to_bytes(4, "little")),), **more)


_BYTES_AS_JSON = b'{"inputs":[{"name":"BYTES","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}}]}'
_NOT_TEXT = RestRequest(
    "POST", "/v2/models/echo/infer", ((LENGTH, str(len(_BYTES_AS_JSON))),), _BYTES_AS_JSON + b"\1\0\0\0\xff"
)
_EMPTY = Ask("echo", inputs=(Input("FP32", "FP32", (1, 0), b""),))
_INEXACT = _tensor("FP64", "FP64", [2, 1], [1.3140367610373447e-146, 2.000884567277987e240])
_MANY_CLASSES = Ask(
    "labelled", inputs=(Input("FEATURES", "FP32", (1, 3), b"\0" * 12),), outputs=(Wanted("SCORES", 1 << 40),)
)
_END = message(Ask("repeat", id="1", inputs=(Input("COUNT", "INT32", (1,), b"\0" * 4),)), raw=True)
_END.parameters["triton_enable_empty_final_response"].bool_param = True
_STATISTICS = service_pb2.ModelStatisticsRequest(name="nobody").SerializeToString()

RULES = (
    Rule(
        "null parameters are none",
        "as null is for every other optional field; Triton answers 500",
        a.null,
        _post("faulty", _CODE, parameters=None),
    ),
    Rule(
        "a client's mistake is 400",
        "Triton answers 500 to JSON that it cannot read",
        a.blames_the_client,
        _text("faulty", b"{"),
    ),
    Rule(
        "an unknown coding is 415",
        "RFC 9110; Triton answers 501",
        a.unknown_coding,
        _post("faulty", _CODE, headers=(("Content-Encoding", "br"),)),
    ),
    Rule(
        "versions are positive integers",
        "any other is unknown, whatever the protocol: 404; Triton reads '1.0' as 1 and refuses others with 400",
        a.no_version,
        _call(_code(version="1.0")),
    ),
    Rule(
        "an unknown model is 404",
        "as everywhere; Triton says 400 where statistics or readiness are asked for",
        a.unknown_model,
        GrpcRequest("ModelStatistics", (_STATISTICS,), None, ("nobody", "")),
    ),
    Rule(
        "which mistake is told",
        "of several in one request each side names the one that it meets first",
        a.two_mistakes,
        _post("nobody", _CODE, headers=(("Content-Encoding", "br"),)),
    ),
    Rule(
        "a missing input is 400",
        "Triton counts: with an optional input in its place it asks the model, which fails",
        a.missing_input,
        _post("pair", *(_tensor(name, "INT32", [1, 2], [1, 2]) for name in ("LEFT", "BIAS"))),
    ),
    Rule(
        "class counts have 31 bits", "Triton keeps the lower 32 bits of a larger one", a.classes, _call(_MANY_CLASSES)
    ),
    Rule(
        "0 classes are no classification",
        "over gRPC too; Triton refuses them there",
        a.no_classes,
        _call(_code(outputs=(Wanted("CODE", 0),))),
    ),
    Rule(
        "integer parameters in either field",
        "Triton takes each in one of int64_param and uint64_param",
        a.unsigned,
        _call(_code(), spoil=lambda found: setattr(found.parameters["timeout"], "uint64_param", 60_000_000)),
    ),
    Rule(
        "what counts from 0 is not negative",
        "a sequence id, a timeout: over gRPC Triton takes -1 for 2^64 - 1, over HTTP it refuses it",
        a.negative,
        _call(_code(parameters={"sequence_id": -1})),
    ),
    Rule(
        "the flag of streams is taken everywhere",
        "it has no meaning without one; over HTTP Triton refuses every parameter that begins with triton_",
        a.flag_of_streams,
        _post("faulty", _CODE, parameters={"triton_enable_empty_final_response": True}),
    ),
    Rule(
        "raw contents match the inputs",
        "Triton ignores what is left over",
        a.left_over,
        _call(_code(), "raw", "add_raw", spoil=lambda found: found.raw_input_contents.append(b"")),
    ),
    Rule(
        "empty tensors need no data",
        "Triton misses the data of a tensor without elements",
        a.empty_needs_no_data,
        _call(_EMPTY, spoil=lambda found: found.ClearField("raw_input_contents")),
    ),
    Rule(
        "nothing is wrapped around",
        "a number out of its datatype's range is a mistake; Triton keeps its lower bits",
        a.in_range,
        _post("echo", _tensor("INT8", "INT8", [1, 1, 1], [300])),
    ),
    Rule(
        "data match the shape",
        "also where the shape has no elements; Triton ignores data there",
        a.data_of_nothing,
        _post("echo", _tensor("INT32", "INT32", [0], [4])),
    ),
    Rule(
        "JSON outputs are text",
        "bytes that are no UTF-8 have no JSON form; Triton writes broken JSON",
        a.no_text,
        _NOT_TEXT,
    ),
    Rule(
        "JSON requests are text",
        "RFC 8259; Triton passes bytes on that are no UTF-8",
        a.json_is_text,
        _text("faulty", json.dumps({"inputs": [_CODE]}).encode()[:-1] + b',"x":"\xff"}'),
    ),
    Rule(
        "parameters are finite",
        "NaN has no JSON form that all readers take",
        a.finite,
        _post("faulty", _CODE, parameters={"x": float("nan")}),
    ),
    Rule(
        "what should be an object is one",
        "Triton ignores an output's parameters, or an index request, that is something else",
        a.objects,
        _post("faulty", _CODE, outputs=[{"name": "CODE", "parameters": 5}]),
    ),
    Rule(
        "the last of two equal keys counts",
        "RFC 8259 leaves it open; Triton takes the first",
        a.keys_twice,
        _text("faulty", b'{"id":"first","id":"last",' + json.dumps({"inputs": [_CODE]}).encode()[1:], "key twice"),
    ),
    Rule(
        "codes that HTTP cannot tell are INVALID_ARGUMENT",
        "a model's own UNKNOWN, ALREADY_EXISTS and CANCELLED are 400 on the way from Triton",
        a.codes,
        _call(_code(7)),
    ),
    Rule("ids are whole", "over gRPC Triton cuts an id at a NUL", a.nul, _call(_code(id="a\0b"))),
    Rule("numbers are exact", "Triton's JSON parser misses the last bit of some", a.digits, _post("echo", _INEXACT)),
    Rule(
        "quoted paths",
        "RFC 3986: %63 is c; Triton takes a path as it is written",
        a.quoted_names,
        _get("/v2/models/e%63ho"),
    ),
    Rule(
        "what is for the edge goes no further",
        "routing_key is ours, and text or an integer; binary_data_output is HTTP's: over gRPC Triton tells the model",
        a.for_the_edge,
        _call(_code(parameters={"routing_key": 0.5})),
    ),
    Rule(
        "a timeout bounds the request",
        "Triton ignores it unless the model's queue policy allows it",
        a.timeout,
        _call(_code(parameters={"timeout": 1})),
    ),
    Rule(
        "the end of a stream's responses names the version that gave them",
        "Triton repeats the version that was asked for, if one was",
        a.bare_end,
        GrpcRequest("ModelStreamInfer", (_END.SerializeToString(),), None, ("repeat",)),
    ),
    Rule(
        "generate is not served",
        "it is no part of the protocol that both edges speak: 501",
        a.no_generate,
        RestRequest("POST", "/v2/models/echo/generate", (), b"{}"),
    ),
    Rule("the root answers", "GET / says where to look; Triton has no root", a.root, _get("/")),
    Rule("the server has its own name", "and lists the extensions that the gate opens", a.name, _get("/v2")),
)


def expected(request: Request, direct: Seen, through: Seen) -> tuple[Seen, list[str]]:
    """Return what the gateway should have answered, and the names of the rules that say so."""
    used = []
    for rule in RULES:
        if same(direct, through):
            break
        amended = rule.amend(request, direct, through)
        if not same(amended, direct):
            used.append(rule.name)
            direct = amended
    return direct, used


def same(one: Seen, other: Seen) -> bool:
    """Whether two answers are the same but for an error's words; NaN, minus zero and every digit count."""
    return one.category == other.category and repr(one.content) == repr(other.content)
