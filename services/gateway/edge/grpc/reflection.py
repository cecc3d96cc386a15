"""Server reflection, version 1 and its predecessor: which services there are, and their descriptors.

The two versions have the same messages under different package names, so ``grpc_reflection``'s servicer for the older
one answers both.
"""

from __future__ import annotations

from typing import Any

from grpc_reflection.v1alpha import reflection, reflection_pb2

from services.core.errors import Unimplemented
from services.gateway.edge.grpc.documents import parse
from services.gateway.edge.grpc.message_reader import Buffer
from services.gateway.edge.grpc.site import Site
from services.gateway.edge.grpc.streaming import Streaming
from services.gateway.edge.http2.connection import Connection
from services.gateway.edge.http2.stream import Stream

V1ALPHA: str = reflection.SERVICE_NAME
V1 = V1ALPHA.replace("v1alpha", "v1")
METHOD = "ServerReflectionInfo"


class ReflectionCall(Streaming):
    """One reflection call.

    Args:
        site: What calls share.
        connection: The client's connection.
        stream: The call's stream.
        servicer: What knows the services.
    """

    __slots__ = ("_servicer",)

    def __init__(self, site: Site, connection: Connection, stream: Stream, servicer: Any) -> None:
        super().__init__(site, connection, stream)
        self._servicer = servicer

    @property
    def busy(self) -> bool:
        """While the client does not take what it asked for."""
        return self.stream.queued_bytes > 0

    def take(self, compressed: bool, message: Buffer) -> None:
        """Answer one question."""
        if compressed:
            raise Unimplemented("reflection takes no compressed messages")
        request = parse(reflection_pb2.ServerReflectionRequest, message, self.head.path)
        for answer in self._servicer.ServerReflectionInfo(iter((request,)), None):
            self.send([answer.SerializeToString()])

    def drained(self) -> None:
        """Everything is answered."""
        self.finish()

    def sent(self) -> None:
        """Go on with the next question."""
        super().sent()
        self.data(b"", self.half_closed)


def servicer(services: tuple[str, ...]) -> Any:
    """Return what answers questions about these services."""
    return reflection.ReflectionServicer(services)
