"""The ports between the gateway and whatever runs models: inference, and questions about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from services.core.inference import InferRequest, InferResponse, ModelSchema


class Upstream(Protocol):
    """A server that runs loaded model versions. Adapter: ``TritonUpstream``."""

    async def infer(self, request: InferRequest, version: int, timeout_s: float) -> InferResponse:
        """Run one request on exactly this version.

        Raises:
            InvalidRequest: The model cannot take the request.
            Overloaded: Refused before any work was done; another upstream may take it.
            Unavailable: Nothing answered, or the version is not loaded there; another upstream may have it.
            DeadlineExceeded: No answer within ``timeout_s`` seconds, or it expired in the model's queue.
            UpstreamFailure: The model failed, or the answer made no sense.
        """
        ...

    def stream(self, request: InferRequest, version: int, timeout_s: float) -> AsyncIterator[InferResponse]:
        """Run one request of a decoupled model and give its responses as they come; the last one is ``final``.

        Closing the iterator early ends the request in Triton as well. Raises as ``infer``, at any response.
        """
        ...

    async def schema(self, model: str, version: int) -> ModelSchema:
        """Return the inputs and outputs of a loaded version; errors as in ``infer``."""
        ...


class Inspector(Protocol):
    """What a server, or all replicas of one, say of themselves. Adapters: ``TritonUpstream``, ``ReplicaSet``."""

    async def document(self, path: str, body: bytes | None = None) -> Any:
        """Return one of Triton's read-only JSON documents, decoded; a body makes it a POST.

        Args:
            path: Path below the server's root with every name already quoted, such as ``v2/models/digits/stats``.
            body: JSON text to post, or None for a GET.
        """
        ...

    async def documents(self, path: str) -> dict[str, Any]:
        """Return the document of every replica that can be reached, by replica as HOST:PORT; a GET.

        Raises:
            Unavailable: None can be reached.
        """
        ...

    async def ready(self) -> bool:
        """Whether it answers and says that it is ready; never raises for a server that is away."""
        ...


class Serving(Upstream, Inspector, Protocol):
    """Both: what a gateway worker needs."""
