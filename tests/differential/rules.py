"""The intended differences between a bare Triton and the gateway: one table, each with its reason.

A rule takes the answer of the bare Triton and returns what the gateway gives instead; whatever no rule explains is a
fault. ARCHITECTURE.md has the same list in words ("Intended differences to Triton").
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests.differential.answers import Seen
from tests.differential.grpc_forms import GrpcRequest
from tests.differential.rest import RestRequest

Request = RestRequest | GrpcRequest
Amend = Callable[[Request, Seen, Seen], Seen]


@dataclass(frozen=True)
class Rule:
    """One intended difference: ``amend`` turns the direct answer into the one expected of the gateway."""

    name: str
    reason: str
    amend: Amend


# What Triton says of a request that it cannot read, with a status that blames itself.
_UNREADABLE = re.compile(
    r"Unable to (parse|set)|failed to parse the request JSON|attempt to access|"
    r"failed to get request params|invalid value|Missing"
)
_MISTAKES = {"invalid", "not found"}


_MISTAKES = {"invalid", "not found"}
_CODES_OF_MODELS = {"unknown", "exists", "cancelled"}


def _as(category: str, seen: Seen) -> Seen:
    return replace(seen, category=category, content=None)


def _blames_the_client(_request: Request, direct: Seen, _through: Seen) -> Seen:
    return _as("invalid", direct) if direct.category == "failed" and _UNREADABLE.search(direct.words) else direct


def _two_mistakes(request: Request, direct: Seen, through: Seen) -> Seen:
    ask = request.about
    if ask is None or len(ask.spoilt) + len(request.notes) < 2:
        return direct
    return _as(through.category, direct) if {direct.category, through.category} <= _MISTAKES else direct


def _quoted_names(request: Request, direct: Seen, through: Seen) -> Seen:
    quoted = isinstance(request, RestRequest) and "%" in request.path
    return through if quoted and direct.category in {"not found", "invalid", "method"} else direct


def _missing_input(_request: Request, direct: Seen, through: Seen) -> Seen:
    said = through.category == "invalid" and "missing from the request" in through.words
    return _as("invalid", direct) if said and direct.category == "failed" and "KeyError" in direct.words else direct


def _classes(request: Request, direct: Seen, _through: Seen) -> Seen:
    ask = request.about
    many = ask is not None and any((wanted.classes or 0) >= 1 << 31 for wanted in ask.outputs)
    return _as("invalid", direct) if many and direct.category == "ok" else direct


def _unsigned(request: Request, direct: Seen, through: Seen) -> Seen:
    one = isinstance(request, GrpcRequest) and re.search("invalid value type for '.*' parameter", direct.words)
    return through if one and direct.category == "invalid" else direct


def _no_text(_request: Request, direct: Seen, _through: Seen) -> Seen:
    wrong = direct.category == "ok" and isinstance(direct.content, dict) and "no text" in direct.content
    return _as("invalid", direct) if wrong else direct


def _json_is_text(request: Request, direct: Seen, _through: Seen) -> Seen:
    wrong = "no UTF-8" in request.notes or "\ufffd" in direct.words
    return _as("invalid", direct) if wrong else direct


def _no_version(request: Request, direct: Seen, _through: Seen) -> Seen:
    """Triton's ``stol`` reads "1 " and "1.0" as 1."""
    if re.search("failed to get model version|invalid model version specified", direct.words):
        return _as("not found", direct)
    text = request.about.version if request.about else ""
    if isinstance(request, GrpcRequest) and request.method.startswith("Model") and len(request.notes) > 1:
        text = text or request.notes[1]
    if isinstance(request, RestRequest) and request.path.endswith("/versions/0/ready"):
        text = "0"
    return _as("not found", direct) if text and not (text.isdigit() and int(text)) else direct


def _unknown_in_statistics(request: Request, direct: Seen, _through: Seen) -> Seen:
    about = isinstance(request, GrpcRequest) and request.method == "ModelStatistics"
    about = about or (isinstance(request, RestRequest) and request.path.endswith("/stats"))
    return _as("not found", direct) if about and direct.category == "invalid" else direct


def _keys_twice(request: Request, direct: Seen, through: Seen) -> Seen:
    return through if "key twice" in request.notes and direct.category == through.category else direct


def _codes(request: Request, direct: Seen, _through: Seen) -> Seen:
    hidden = isinstance(request, GrpcRequest) and direct.category in _CODES_OF_MODELS
    return _as("invalid", direct) if hidden else direct


def _left_over(request: Request, direct: Seen, through: Seen) -> Seen:
    found = "add_raw" in request.notes and "raw_input_contents has" in through.words
    return _as("invalid", direct) if found else direct


def _empty_needs_no_data(_request: Request, direct: Seen, through: Seen) -> Seen:
    found = "unable to find data for input tensor" in direct.words and through.category == "ok"
    return through if found else direct


def _finite(_request: Request, direct: Seen, through: Seen) -> Seen:
    return _as("invalid", direct) if "expected a finite number" in through.words else direct


def _objects(_request: Request, direct: Seen, through: Seen) -> Seen:
    found = through.category == "invalid" and "expected an object" in through.words and direct.category == "ok"
    return _as("invalid", direct) if found else direct


def _null(_request: Request, direct: Seen, through: Seen) -> Seen:
    return through if direct.category == "failed" and "members for non-object" in direct.words else direct


def _nested(_request: Request, direct: Seen, through: Seen) -> Seen:
    found = through.category == "invalid" and re.search("nested deeper|mixes lists|rows|lists of", through.words)
    return _as("invalid", direct) if found and direct.category == "ok" else direct


def _root(request: Request, direct: Seen, through: Seen) -> Seen:
    return through if isinstance(request, RestRequest) and request.path == "/" else direct


def _name(_request: Request, direct: Seen, through: Seen) -> Seen:
    return through if direct.category == through.category == "ok" and "'triton'" in repr(direct.content) else direct


def _nul(request: Request, direct: Seen, through: Seen) -> Seen:
    """Compare as if both had cut the id."""
    ask = request.about
    if ask is None or "\0" not in (ask.id or "") or through.category != "ok" or direct.category != "ok":
        return direct
    whole, cut = repr(ask.id), repr((ask.id or "").split("\0")[0])
    return through if repr(through.content).replace(whole, cut) == repr(direct.content) else direct


def _digits(_request: Request, direct: Seen, through: Seen) -> Seen:
    """Triton's JSON parser is off by one in the last of 53 bits, at times."""
    return through if _nearly(direct.content, through.content) else direct


def _nearly(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict) and one.get("datatype") == "FP64" == other.get("datatype"):
        numbers = [np.frombuffer(found["data"], "<f8") for found in (one, other)]
        return numbers[0].shape == numbers[1].shape and np.allclose(*numbers, rtol=1e-15, atol=0, equal_nan=True)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_nearly(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_nearly, one, other))
    return bool(one == other)


RULES = (
    Rule("a client's mistake is 400", "Triton answers 500 to JSON that it cannot read", _blames_the_client),
    Rule("versions are positive integers", "any other is unknown, whatever the protocol: 404", _no_version),
    Rule("an unknown model has no statistics", "404 as everywhere; Triton says 400 here", _unknown_in_statistics),
    Rule(
        "which mistake is told", "of several in one request each side names the one that it meets first", _two_mistakes
    ),
    Rule(
        "a missing input is 400", "Triton counts: with an optional one in its place it asks the model", _missing_input
    ),
    Rule("class counts have 31 bits", "Triton keeps the lower 32 bits of a larger one", _classes),
    Rule("integer parameters in either field", "Triton takes each in one of int64_param, uint64_param", _unsigned),
    Rule("JSON outputs are text", "bytes that are no UTF-8 have no JSON form; Triton writes broken JSON", _no_text),
    Rule("JSON requests are text", "RFC 8259; Triton passes bytes that are no UTF-8 on", _json_is_text),
    Rule("parameters are finite", "NaN has no JSON form that all readers take", _finite),
    Rule("parameters are an object", "Triton ignores an output's when they are something else", _objects),
    Rule("null parameters are none", "as null is for every other optional field", _null),
    Rule("JSON data are flat or nested as the shape says", "anything in between is a client's mistake", _nested),
    Rule("the last of two equal keys counts", "RFC 8259 leaves it open; Triton takes the first", _keys_twice),
    Rule("raw contents match the inputs", "Triton ignores what is left over", _left_over),
    Rule("empty tensors need no data", "Triton misses the data of a tensor without elements", _empty_needs_no_data),
    Rule("codes that HTTP cannot tell", "a model's UNKNOWN, ALREADY_EXISTS, CANCELLED are 400 on the way here", _codes),
    Rule("ids are whole", "Triton cuts an id at a NUL", _nul),
    Rule("numbers are exact", "Triton's JSON parser misses the last bit of some doubles", _digits),
    Rule("quoted paths", "RFC 3986: %63 is c; Triton takes a path as it is written", _quoted_names),
    Rule("the root answers", "GET / says where to look", _root),
    Rule("the server has its own name", "and lists the extensions that the gate opens", _name),
)


def expected(request: Request, direct: Seen, through: Seen) -> tuple[Seen, list[str]]:
    """Return what the gateway should have answered, and the names of the rules that say so."""
    used = []
    for rule in RULES:
        if same(direct, through):
            break
        amended = rule.amend(request, direct, through)
        if amended is not direct:
            used.append(rule.name)
            direct = amended
    return direct, used


def same(one: Seen, other: Seen) -> bool:
    """Whether two answers are the same but for an error's words."""
    return one.category == other.category and _plain(one.content) == _plain(other.content)


def _plain(content: Any) -> str:
    """NaN, minus zero and every digit count."""
    return repr(content)
