"""The heads of requests, each read once: a client's next request mostly begins with the same bytes as its last."""

from __future__ import annotations

from typing import NamedTuple

from services.core.errors import PayloadTooLarge, PenstockError, UnsupportedEncoding
from services.gateway.edge.rest.gate import refused_path
from services.gateway.edge.rest.head import Head, parse_head
from services.gateway.edge.rest.infer import InferHead, infer_target, read_headers
from services.gateway.edge.rest.refusal import LENGTH_REQUIRED, HttpRefusal, too_large_head
from services.gateway.limits import MIB, Limits

# Documents are asked for with small bodies or none.
_DOCUMENT_BODY_BYTES = MIB
_CACHED_BYTES = 1024
_CACHED = 1024


class Opening(NamedTuple):
    """What is known of a request before its body.

    Attributes:
        head: Its head.
        infer: Model, version and headers of an inference request; None for any other.
        refusal: Why it is refused although it can be read; None for most.
        max_body_bytes: Largest body.
    """

    head: Head
    infer: InferHead | None
    refusal: PenstockError | None
    max_body_bytes: int


class Openings:
    """Reads heads and remembers them, within bounds: a head that differs each time costs the others a little.

    Args:
        limits: Bounds on heads and bodies.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._known: dict[bytes, Opening] = {}

    def read(self, raw: bytes) -> Opening:
        """Return what a head says.

        Raises:
            HttpRefusal: It cannot be read, and neither can what follows it.
        """
        known = self._known.get(raw)
        if known is not None:
            return known
        if len(raw) > self._limits.max_header_bytes:
            raise too_large_head(self._limits)
        head = parse_head(raw, self._limits)
        opening = self._opening(head, infer_target(head))
        if len(raw) <= _CACHED_BYTES and opening.refusal is None:
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[raw] = opening
        return opening

    def _opening(self, head: Head, infer: InferHead | None) -> Opening:
        most = self._limits.max_body_bytes
        if infer is None:
            most = min(most, _DOCUMENT_BODY_BYTES)
        refusal: PenstockError | None = None
        try:
            if infer is not None:
                if head.length is None and not head.chunked:
                    raise HttpRefusal(
                        LENGTH_REQUIRED, "the request has no body; send one with Content-Length or in chunks"
                    )
                read_headers(infer, head)
            elif (shut := refused_path(head)) is not None:
                raise shut
            elif (head.value(b"content-encoding") or b"identity").lower() != b"identity":
                raise UnsupportedEncoding("only inference requests are taken compressed; send this one as it is")
            if head.length is not None and head.length > most:
                raise too_large_body(f"{head.length} bytes", most)
        except PenstockError as error:
            refusal = error
        return Opening(head, infer, refusal, most)


def too_large_body(found: str, most: int) -> PayloadTooLarge:
    """Return the refusal of a body over the limit."""
    return PayloadTooLarge(
        f"the request's body has {found}; this gateway takes at most {most}: send smaller batches, or binary tensors "
        "instead of JSON"
    )
