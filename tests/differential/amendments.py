"""What the gateway answers instead of a bare Triton's answer: one function for each intended difference.

A function returns the direct answer itself where its difference is not in play.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from tests.differential.answers import Seen
from tests.differential.grpc_forms import GrpcRequest
from tests.differential.rest import RestRequest

Request = RestRequest | GrpcRequest

# What Triton says of a request that it cannot read, with a status that blames itself.
_UNREADABLE = re.compile(
    r"Unable to (parse|set)|failed to parse the request JSON|attempt to access|"
    r"failed to get request params|invalid value|Missing|batch size \d+ for"
)
# What the model ``faulty`` says when it is asked to fail.
_OWN_DOING = re.compile('asked for [A-Z_]+$|asked for [A-Z_]+"|größe|the whole batch fails')
_ENDS = {"not found", "unimplemented"}
_MISTAKES = {"invalid", "not found", "coding", "unimplemented"}
_ABOUT_MODELS = {"ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"}
_CODES_OF_MODELS = {"unknown", "exists", "cancelled"}


def _as(category: str, seen: Seen) -> Seen:
    return replace(seen, category=category, content=None)


def _coded(request: Request) -> bool:
    return isinstance(request, RestRequest) and ("Content-Encoding", "br") in request.headers


def _taken(direct: Seen) -> bool:
    """Whether Triton saw nothing wrong with a request: it was answered, or failed by the model's own doing."""
    return direct.category == "ok" or bool(_OWN_DOING.search(direct.words))


def blames_the_client(_request: Request, direct: Seen, _through: Seen) -> Seen:
    return _as("invalid", direct) if direct.category == "failed" and _UNREADABLE.search(direct.words) else direct


def two_mistakes(request: Request, direct: Seen, through: Seen) -> Seen:
    if not {direct.category, through.category} <= _MISTAKES:
        return direct
    ask = request.about
    mistakes = len(request.notes) + (len(ask.spoilt) if ask else 0) + _coded(request)
    # Of a request for an unknown model, or for a decoupled one without a stream, Triton reads no more.
    return _as(through.category, direct) if mistakes > 1 or direct.category in _ENDS else direct


def quoted_names(request: Request, direct: Seen, through: Seen) -> Seen:
    quoted = isinstance(request, RestRequest) and "%" in request.path
    return through if quoted and direct.category in {"not found", "invalid", "method"} else direct


def missing_input(_request: Request, direct: Seen, through: Seen) -> Seen:
    said = through.category == "invalid" and "missing from the request" in through.words
    return _as("invalid", direct) if said and direct.category == "failed" and "KeyError" in direct.words else direct


def classes(request: Request, direct: Seen, _through: Seen) -> Seen:
    ask = request.about
    many = ask is not None and any((wanted.classes or 0) >= 1 << 31 for wanted in ask.outputs)
    return _as("invalid", direct) if many and _taken(direct) else direct


def unsigned(request: Request, direct: Seen, through: Seen) -> Seen:
    one = isinstance(request, GrpcRequest) and re.search("invalid value type for '.*' parameter", direct.words)
    return through if one and direct.category == "invalid" else direct


def no_text(_request: Request, direct: Seen, _through: Seen) -> Seen:
    wrong = direct.category == "ok" and isinstance(direct.content, dict) and "no text" in direct.content
    return _as("invalid", direct) if wrong else direct


def json_is_text(request: Request, direct: Seen, through: Seen) -> Seen:
    if not isinstance(request, RestRequest) or through.category != "invalid" or "UTF-8" not in through.words:
        return direct
    return _as("invalid", direct) if _taken(direct) else direct


def no_version(request: Request, direct: Seen, _through: Seen) -> Seen:
    """Triton's ``stol`` reads "1 " and "1.0" as 1."""
    if re.search("failed to get model version|invalid model version specified", direct.words):
        return _as("not found", direct)
    text = request.about.version if request.about else ""
    if isinstance(request, GrpcRequest) and request.method in _ABOUT_MODELS and len(request.notes) > 1:
        text = text or request.notes[1]
    if isinstance(request, RestRequest) and request.path.endswith("/versions/0/ready"):
        text = "0"
    return _as("not found", direct) if text and not (text.isdigit() and int(text)) else direct


def unknown_model(request: Request, direct: Seen, _through: Seen) -> Seen:
    about = isinstance(request, GrpcRequest) and request.method == "ModelStatistics"
    about = about or (isinstance(request, RestRequest) and request.path.endswith(("/stats", "/ready")))
    return _as("not found", direct) if about and direct.category == "invalid" else direct


def keys_twice(request: Request, direct: Seen, through: Seen) -> Seen:
    return through if "key twice" in request.notes and direct.category == through.category else direct


def codes(request: Request, direct: Seen, _through: Seen) -> Seen:
    hidden = isinstance(request, GrpcRequest) and direct.category in _CODES_OF_MODELS
    return _as("invalid", direct) if hidden else direct


def negative(_request: Request, direct: Seen, through: Seen) -> Seen:
    found = re.search("'(sequence_id|timeout|priority)' is -", through.words) and _taken(direct)
    return _as("invalid", direct) if found else direct


def left_over(request: Request, direct: Seen, through: Seen) -> Seen:
    found = "add_raw" in request.notes and "raw_input_contents has" in through.words
    return _as("invalid", direct) if found else direct


def empty_needs_no_data(_request: Request, direct: Seen, through: Seen) -> Seen:
    found = "unable to find data for input tensor" in direct.words and through.category == "ok"
    return through if found else direct


def finite(_request: Request, direct: Seen, through: Seen) -> Seen:
    return _as("invalid", direct) if "expected a finite number" in through.words else direct


def objects(_request: Request, direct: Seen, through: Seen) -> Seen:
    found = (
        through.category == "invalid"
        and re.search("expected an object|should be an object", through.words)
        and _taken(direct)
    )
    return _as("invalid", direct) if found else direct


def null(_request: Request, direct: Seen, through: Seen) -> Seen:
    return through if direct.category == "failed" and "members for non-object" in direct.words else direct


def root(request: Request, direct: Seen, through: Seen) -> Seen:
    return through if isinstance(request, RestRequest) and request.path == "/" else direct


def name(_request: Request, direct: Seen, through: Seen) -> Seen:
    return through if direct.category == through.category == "ok" and "'triton'" in repr(direct.content) else direct


def nul(request: Request, direct: Seen, through: Seen) -> Seen:
    """Compare as if both had cut the id."""
    ask = request.about
    if ask is None or "\0" not in (ask.id or "") or through.category != "ok" or direct.category != "ok":
        return direct
    return through if _with_cut_id(through.content) == direct.content else direct


def _with_cut_id(content: Any) -> Any:
    if isinstance(content, list):
        return [_with_cut_id(one) for one in content]
    if not isinstance(content, dict):
        return content
    cut = {key: _with_cut_id(value) for key, value in content.items() if key != "id"}
    kept = str(content.get("id", "")).split("\0")[0]
    return {**cut, "id": kept} if kept else cut


def digits(request: Request, direct: Seen, through: Seen) -> Seen:
    """Triton's JSON parser is off by one in the last of 53 bits, at times."""
    both = isinstance(request, RestRequest) and direct.category == through.category == "ok"
    return through if both and _nearly(direct.content, through.content) else direct


def _nearly(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict) and one.get("datatype") == "FP64" == other.get("datatype"):
        mine, theirs = (np.frombuffer(found["data"], "<f8") for found in (one, other))
        alike = mine.shape == theirs.shape and np.allclose(mine, theirs, rtol=1e-15, atol=0, equal_nan=True)
        return bool(alike)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_nearly(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_nearly, one, other))
    return bool(one == other)


def unknown_coding(request: Request, direct: Seen, through: Seen) -> Seen:
    """For a decoupled model Triton does not look at the coding."""
    found = "compression" in direct.words or (_coded(request) and through.category == "coding")
    return _as("coding", direct) if direct.category == "unimplemented" and found else direct


def no_classes(request: Request, direct: Seen, through: Seen) -> Seen:
    ask = request.about
    none = isinstance(request, GrpcRequest) and ask is not None and any(one.classes == 0 for one in ask.outputs)
    return through if none and "'classification' parameter" in direct.words else direct


def in_range(_request: Request, direct: Seen, through: Seen) -> Seen:
    found = "out of the range" in through.words and _taken(direct)
    return _as("invalid", direct) if found else direct


def for_the_edge(request: Request, direct: Seen, through: Seen) -> Seen:
    """The model that tells its parameters is not told of them."""
    ask = request.about
    if ask is None or not {"routing_key", "binary_data_output"} & ask.parameters.keys() or not _taken(direct):
        return direct
    if through.category == "invalid":
        return _as("invalid", direct)
    return through if ask.model == "parameters" and through.category == direct.category else direct


def timeout(request: Request, direct: Seen, through: Seen) -> Seen:
    data = request.body if isinstance(request, RestRequest) else b"".join(request.messages)
    bounded = b"timeout" in data and through.category == "deadline"
    return _as("deadline", direct) if bounded and _taken(direct) else direct


def data_of_nothing(_request: Request, direct: Seen, through: Seen) -> Seen:
    found = through.category == "invalid" and re.search(
        r"holds \d+ elements; its shape \[.*\b0\b.*\] needs 0|data' is .*; expected a list", through.words
    )
    return _as("invalid", direct) if found and _taken(direct) else direct


def flag_of_streams(request: Request, direct: Seen, through: Seen) -> Seen:
    found = isinstance(request, RestRequest) and b"triton_enable_empty_final_response" in request.body
    return through if found and "'triton_'" in direct.words else direct


def bare_end(request: Request, direct: Seen, through: Seen) -> Seen:
    if not isinstance(request, GrpcRequest) or request.method != "ModelStreamInfer":
        return direct
    return through if _without_version(direct.content) == _without_version(through.content) else direct


def _without_version(responses: Any) -> Any:
    """Return a stream's responses without the version in those that have no outputs."""
    found = []
    for response in responses or ():
        inner = dict(response.get("infer_response", {}))
        if "outputs" not in inner:
            inner.pop("model_version", None)
        found.append({**response, "infer_response": inner})
    return found


def no_generate(request: Request, direct: Seen, through: Seen) -> Seen:
    served = isinstance(request, RestRequest) and request.path.rstrip("/").endswith("/generate")
    return through if served and through.category in {"unimplemented", "not found"} else direct
