"""What the description of the REST surface says beyond types: errors, headers, bodies that are not JSON."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path

from services.gateway.edge.rest.models import ErrorBody, IndexRequest, InferenceResponse

Responses = dict[int | str, dict[str, Any]]

# Documented only: whether a version is one is for the route table to say, with 404.
Model = Annotated[str, Path(description="Model name", json_schema_extra={"minLength": 1})]
Version = Annotated[
    str, Path(description="Version: a positive integer", json_schema_extra={"pattern": "^[1-9][0-9]{0,17}$"})
]

_WORDS = {
    400: "The request makes no sense, or the model cannot take it",
    404: "No such model or version",
    408: "The body did not arrive in time",
    409: "The model has no A/B test under way, or it takes no more outcomes",
    411: "The request has no body",
    413: "The body is too large, as sent or after inflating",
    415: "The body has a coding that is not served",
    429: "Refused before any work was done: the worker has too much to do; Retry-After says when to try again",
    431: "Too many or too large headers",
    500: "Triton or the model failed, or its answer makes no sense",
    501: "A part of the protocol that is not served",
    503: "Triton is away, or has not loaded the version; Retry-After says when to try again",
    504: "No answer in time",
}
_LATER = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}}
_WITH_HEADER = {429, 503}
_BINARY = {"schema": {"type": "string", "format": "binary"}}

TRITON_ERRORS = (429, 500, 503, 504)
BODY_ERRORS = (400, 408, 413, 429)


def errors(*statuses: int) -> Responses:
    """Return the descriptions of these refusals; each is ``{"error": "words"}``."""
    return {
        status: {"model": ErrorBody, "description": _WORDS[status]}
        | ({"headers": _LATER} if status in _WITH_HEADER else {})
        for status in sorted({*statuses, 431})
    }


NOT_READY: Responses = {400: {"model": ErrorBody, "description": "Not ready, and why"}, **errors()}

INFER_ERRORS = errors(404, 411, 415, 501, *BODY_ERRORS, *TRITON_ERRORS)
INFER_RESPONSES: Responses = {
    200: {
        "model": InferenceResponse,
        "description": "The outputs: JSON; or, where outputs are binary, a JSON header followed by their bytes",
        "content": {"application/octet-stream": _BINARY},
        "headers": {
            "Inference-Header-Content-Length": {
                "description": "Length of the JSON header of an answer with binary outputs",
                "schema": {"type": "integer", "minimum": 1},
            },
            "Content-Encoding": {
                "description": "gzip or deflate, where Accept-Encoding asked for it",
                "schema": {"type": "string", "enum": ["gzip", "deflate"]},
            },
            "penstock-model-version": {
                "description": "The version that answered",
                "schema": {"type": "string", "pattern": "^[1-9][0-9]*$"},
            },
            "penstock-role": {
                "description": "The part that this version plays in a rollout",
                "schema": {"type": "string", "enum": ["stable", "candidate", "pinned"]},
            },
        },
    },
    **INFER_ERRORS,
}
_INFER_BODY = """JSON; or a JSON header followed by the bytes of the inputs that have a `binary_data_size`, with the
header's length in `Inference-Header-Content-Length`; with the length 0, the whole body is the only input's bytes. With
`Content-Encoding: gzip` or `deflate`, the body is compressed as a whole."""


def _header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


INFER_EXTRA: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": _INFER_BODY,
        "content": {"application/octet-stream": _BINARY},
    },
    "parameters": [
        _header("Accept-Encoding", "gzip or deflate, with weights; the answer is compressed then", {"type": "string"}),
        _header("penstock-routing-key", "The same key meets the same version", {"type": "string"}),
        _header(
            "penstock-timeout-ms",
            "How long the client waits; an expired request is not forwarded",
            {"type": "integer", "minimum": 1, "maximum": 999_999_999_999_999_999},
        ),
        _header("traceparent", "W3C trace context; anything else is ignored", {"type": "string"}),
    ],
}
INDEX_EXTRA: dict[str, Any] = {
    "requestBody": {"content": {"application/json": {"schema": IndexRequest.model_json_schema()}}}
}
