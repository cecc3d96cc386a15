"""The port between the gateway and whatever runs models: one request in, one answer out."""

from __future__ import annotations

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

    async def schema(self, model: str, version: int) -> ModelSchema:
        """Return the inputs and outputs of a loaded version; errors as in ``infer``."""
        ...

    async def document(self, path: str, body: bytes | None = None) -> Any:
        """Return one of Triton's read-only JSON documents, decoded; a body makes it a POST.

        Args:
            path: Path below the server's root with every name already quoted, such as ``v2/models/digits/stats``.
            body: JSON text to post, or None for a GET.
        """
        ...

    async def ready(self) -> bool:
        """Whether it answers and says that it is ready; never raises for a server that is away."""
        ...
