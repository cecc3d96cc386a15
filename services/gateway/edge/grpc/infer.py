"""ModelInfer: one gRPC request as the pipeline sees it."""

from __future__ import annotations

from services.core.errors import PenstockError
from services.core.inference import InferRequest
from services.gateway.edge.compression import compress
from services.gateway.edge.fields import first_value
from services.gateway.edge.grpc.call import Unary
from services.gateway.edge.grpc.response_wire import encode_response
from services.gateway.edge.grpc.site import PROTOCOL, Site
from services.gateway.edge.grpc.status import compressed_head, served_trailers
from services.gateway.edge.http2.connection import Connection
from services.gateway.edge.http2.stream import Buffer, Stream
from services.gateway.edge.paced import paced
from services.gateway.pipeline import Served


class InferCall(Unary):
    """One ``ModelInfer`` call, which is the pipeline's ``Call`` too."""

    __slots__ = ("_trailers", "model", "protocol", "traceparent", "tracestate")

    def __init__(self, site: Site, connection: Connection, stream: Stream) -> None:
        super().__init__(site, connection, stream)
        self.protocol = PROTOCOL
        self.model = ""
        self.traceparent = self.head.traceparent
        self.tracestate = self.head.tracestate
        self._trailers = b""

    def refused(self, error: PenstockError) -> None:
        """Count a request that never reached the pipeline; which model it was for, nobody knows."""
        self.site.pipeline.refused(PROTOCOL, "", error)

    async def answer(self) -> None:
        """Serve it. An answer is compressed the way its request was, if the client takes that."""
        parts = await self.site.pipeline.serve(self)
        head = self.head
        if self.compressed and head.encoding in head.accepts:
            smaller = await paced(compress(head.encoding, parts))
            self.send([smaller], self._trailers, compressed_head(head.encoding))
        else:
            self.send(parts, self._trailers)

    def decode(self) -> InferRequest:
        """Turn the message, the deadline and the metadata into a request."""
        try:
            request = self.site.wire.read(self.message)
        except PenstockError:
            self.model, _ = self.site.wire.names(self.message)
            raise
        self.model = request.model
        request.deadline_s = self.left_s()
        request.key = self.head.key
        return request

    def attribute(self, name: str) -> str:
        """Return the first value of a metadata key."""
        return first_value(self.head.fields, name)

    def encode(self, served: Served) -> list[Buffer]:
        """Return the message of the answer, and keep the version for the trailing metadata."""
        response = served.response
        self._trailers = served_trailers(response.version, served.role)
        return encode_response(response)
