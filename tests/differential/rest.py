"""Requests in REST's forms, and damage that only JSON and HTTP can take."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from hypothesis import strategies as st

from tests.differential.asks import NUMPY, Ask, Input, raw_to_texts

LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class RestRequest:
    """One HTTP request; ``about`` says what it is made of, for rules and for people."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    about: Ask | None = None
    notes: tuple[str, ...] = ()


def infer_path(ask: Ask) -> str:
    version = f"/versions/{quote(ask.version, safe='')}" if ask.version else ""
    return f"/v2/models/{quote(ask.model, safe='%')}{version}/infer"


def _values(tensor: Input) -> list[Any] | None:
    """Return the elements as JSON values; None for what has no such form."""
    if tensor.datatype == "BYTES":
        try:
            return [text.decode() for text in raw_to_texts(tensor.data)]
        except UnicodeDecodeError:
            return None
    if tensor.datatype == "BOOL":
        return [bool(byte) for byte in tensor.data]
    dtype = np.dtype(NUMPY.get(tensor.datatype, "<u2"))
    whole = len(tensor.data) // dtype.itemsize * dtype.itemsize
    values: list[Any] = np.frombuffer(tensor.data[:whole], dtype).tolist()
    return values


def _nested(values: list[Any], shape: tuple[int, ...]) -> list[Any]:
    for dim in reversed(shape[1:]):
        if dim <= 0 or len(values) % dim:
            return values
        values = [values[start : start + dim] for start in range(0, len(values), dim)]
    return values


def _document(ask: Ask, binary: list[bool], nested: bool) -> tuple[dict[str, Any], bytes]:
    document: dict[str, Any] = {}
    if ask.id is not None:
        document["id"] = ask.id
    if ask.parameters:
        document["parameters"] = dict(ask.parameters)
    tail, inputs = b"", []
    for tensor, as_bytes in zip(ask.inputs, binary, strict=True):
        item: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype}
        values = None if as_bytes else _values(tensor)
        if values is None:
            item["parameters"] = {"binary_data_size": len(tensor.data)}
            tail += tensor.data
        else:
            item["data"] = _nested(values, tensor.shape) if nested else values
        inputs.append(item)
    document["inputs"] = inputs
    if ask.outputs:
        document["outputs"] = [_output(wanted) for wanted in ask.outputs]
    return document, tail


def _output(wanted: Any) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    if wanted.classes is not None:
        parameters["classification"] = wanted.classes
    if wanted.binary is not None:
        parameters["binary_data"] = wanted.binary
    return {"name": wanted.name, "parameters": parameters} if parameters else {"name": wanted.name}


_ANY_JSON: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, 0, 1, -1, 1.5, 1e39, 256, (1 << 31), (1 << 63), (1 << 64), 10**30, float("nan"), float("inf"),
     "", "x", "1", [], {}, [[]], [[1]], [1, [2]], {"a": 1}, [None], "\ud800"]
)  # fmt: skip


@st.composite
def _spoil_json(draw: st.DrawFn, document: Any) -> tuple[Any, str]:
    """Replace, remove or add one thing anywhere in a document."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    document = json.loads(json.dumps(document))
    walk(document)
    if not places:
        return document, "nothing"
    node, key = draw(st.sampled_from(places))
    what = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
    if what == "replace":
        node[key] = draw(_ANY_JSON)
    elif what == "remove":
        del node[key]
    elif isinstance(node, dict):
        node[draw(st.sampled_from(["extra", "", "data", "parameters", "größe"]))] = draw(_ANY_JSON)
    else:
        node.insert(int(key), draw(_ANY_JSON))
    return document, f"json {what} {key if isinstance(key, str) else '[]'}"


_TEXT_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda text: text[:-1],
    "followed by": lambda text: text + b" x",
    "spaces around": lambda text: b" \n" + text + b"\t ",
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "comment": lambda text: b"/* */" + text,
    "key twice": lambda text: b'{"id":"first",' + text[1:],
    "comma at the end": lambda text: text[:-1] + b",}",
    "no UTF-8": lambda text: text[:-1] + b',"extra":"\xff"}',
    "an empty body": lambda _text: b"",
    "a list": lambda text: b"[" + text + b"]",
}


@st.composite
def inference(draw: st.DrawFn, asks: st.SearchStrategy[Ask], *, binary: bool, damaged: bool) -> RestRequest:
    """Return an inference request as JSON, or with binary tensors in it."""
    ask = draw(asks)
    flags = [binary and draw(st.sampled_from([True, True, False])) for _ in ask.inputs]
    notes: list[str] = []
    document, tail = _document(ask, flags, draw(st.booleans()))
    if binary and draw(st.booleans()):
        document.setdefault("parameters", {})["binary_data_output"] = draw(st.sampled_from([True, True, False]))
    harm = draw(st.sampled_from(["json", "json", "text", "length"])) if damaged else ""
    if harm == "json":
        document, note = draw(_spoil_json(document))
        notes.append(note)
    head = json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if harm == "text":
        notes.append(draw(st.sampled_from(sorted(_TEXT_DAMAGE))))
        head = _TEXT_DAMAGE[notes[-1]](head)
    headers = []
    if tail or binary:
        length = str(len(head))
        if harm == "length":
            length = draw(st.sampled_from(["0", "1", str(len(head) - 1), str(len(head) + 1), "-1", "x", "", "9" * 25]))
            notes.append(f"header length {length}")
        headers.append((LENGTH, length))
    elif harm == "length":
        tail = b"more"
        notes.append("bytes after the JSON")
    body = head + tail
    coding = draw(st.sampled_from(["", "", "", "", "gzip", "deflate", "br", "identity"]))
    if coding:
        headers.append(("Content-Encoding", coding))
        body = gzip.compress(body) if coding == "gzip" else zlib.compress(body) if coding == "deflate" else body
    accepted = draw(st.sampled_from(["", "", "", "gzip", "deflate", "gzip, deflate", "identity", "br", "*"]))
    if accepted:
        headers.append(("Accept-Encoding", accepted))
    return RestRequest("POST", infer_path(ask), tuple(headers), body, ask, tuple(notes))


_MODELS = st.sampled_from(["echo", "pair", "labelled", "repeat", "nobody", "größe", "", "%2e%2e", "..", "pair%2f"])
_VERSIONS = st.sampled_from(["1", "2", "9", "0", "-1", "x", "", "01", "9" * 30])
_LAST = st.sampled_from(
    ["", "/", "/ready", "/config", "/stats", "/infer", "/generate", "/nothing", "/ready/", "//ready"]
)
_PATHS = st.one_of(
    st.sampled_from(["/", "/v2", "/v2/", "//v2", "/v3", "/v2/health/live", "/v2/health/ready", "/v2/health",
                     "/v2/models/stats", "/v2/health/live/", "/v2/health/ready?x=1", "/v2?", "/v2/repository/index",
                     "/metrics", "/v2/models", "/v2/models/pair?version=1", "/V2/health/live", "/v2/health%2Flive"]),
    st.builds(lambda model, last: f"/v2/models/{quote(model, safe='%')}{last}", _MODELS, _LAST),
    st.builds(
        lambda model, version, last: f"/v2/models/{quote(model, safe='%')}/versions/{version}{last}",
        _MODELS, _VERSIONS, _LAST,
    ),
)  # fmt: skip


@st.composite
def documents(draw: st.DrawFn) -> RestRequest:
    """Return a request for anything but inference, with odd paths and methods among them."""
    path = draw(_PATHS)
    method = draw(st.sampled_from(["GET", "GET", "GET", "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]))
    if path == "/v2/repository/index" and method == "GET":
        method = "POST"
    body = b""
    if method == "POST":
        body = draw(st.sampled_from([b"", b"{}", b'{"ready":true}', b'{"ready":1}', b"[]", b"x", b'{"more":[]}']))
    return RestRequest(method, path, (), body)
