"""The list of what REST serves: a path that is not on it reaches nothing, however it is spelled.

Paths are compared as they were sent. Percent-encoding is undone only within a segment that is a name, after the path
was recognised, so no spelling of a closed path becomes an open one, and a name can hold no separator.
"""

from __future__ import annotations

import re

from services.core.errors import Forbidden, NotFound, PenstockError, Unimplemented
from services.gateway.edge.rest.head import Head
from services.gateway.edge.rest.refusal import METHOD_NOT_ALLOWED, HttpRefusal, shown

_VERSION = rb"(?:/versions/[0-9]+)?"
_GET, _POST = b"GET", b"POST"
_OPEN: tuple[tuple[re.Pattern[bytes], bytes], ...] = (
    (re.compile(rb"/|/docs|/openapi\.json"), _GET),
    (re.compile(rb"/v2|/v2/health/(?:live|ready)|/v2/models/stats"), _GET),
    (re.compile(rb"/v2/models/[^/]+" + _VERSION + rb"(?:/ready|/config|/stats)?"), _GET),
    (re.compile(rb"/v2/models/[^/]+" + _VERSION + rb"/infer"), _POST),
    (re.compile(rb"/v2/models/[^/]+/feedback"), _POST),
    (re.compile(rb"/v2/repository/index"), _POST),
)
# Parts of Triton's protocol that are the operator's, each refused with words instead of a 404.
_CLOSED = re.compile(
    rb"/v2/(?:repository/models/.*|(?:system|cuda)sharedmemory(?:/.*)?|(?:models/[^/]+/)?trace/.*|logging)"
)
_GENERATE = re.compile(rb"/v2/models/[^/]+" + _VERSION + rb"/generate(?:_stream)?")
# What an encoded name may not hide: separators and control characters.
_HIDDEN = re.compile(rb"%(?:2[fF]|5[cC]|[01][0-9A-Fa-f]|7[fF])")


def refused_path(head: Head) -> PenstockError | None:
    """Return why nothing answers a request, by its path and method; None where something does."""
    path, method = head.path, b"GET" if head.method == b"HEAD" else head.method
    if _HIDDEN.search(path):
        return NotFound(
            f"there is no {shown(path)} here: names have no slashes and no control characters; GET /docs lists what "
            "there is"
        )
    allowed = [verb for pattern, verb in _OPEN if pattern.fullmatch(path)]
    if method in allowed:
        return None
    if _CLOSED.fullmatch(path):
        return Forbidden(
            "models are loaded by the controller, and shared memory, tracing and logging are the operator's: "
            "the gateway does not open them to clients"
        )
    if method == _POST and _GENERATE.fullmatch(path):
        return Unimplemented("'generate' is not served; send POST /v2/models/{model}/infer")
    if allowed:
        verbs = b", ".join([*allowed, *((b"HEAD",) if _GET in allowed else ())])
        return HttpRefusal(
            METHOD_NOT_ALLOWED,
            f"{shown(path)} does not take {method.decode('ascii')}; send {verbs.decode('ascii')}",
            b"Allow: %s\r\n" % verbs,
        )
    return NotFound(f"there is no {method.decode('ascii')} {shown(path)} here; GET /docs lists what there is")
