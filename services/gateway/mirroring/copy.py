"""One request that waits for its copy to be sent, with the answer that it had."""

from __future__ import annotations

from services.core.inference import InferRequest, InferResponse, ModelSchema
from services.core.mirror import Mirror

# Parameters that say how urgent a request was: a copy is not.
_OF_THE_ORIGINAL = ("timeout", "priority")


class Copy:
    """A copy before and while it is sent. Tensors are those of the original: nothing is duplicated.

    Attributes:
        request: The original, which its client has an answer to.
        response: That answer.
        schema: The interface of the version that answered.
        mirror: On what terms it is copied.
        original_s: Time of the original at Triton, seconds.
        value: The original's value of the mirror's slice key.
        since: When it was offered.
        size: ``size_of``.
    """

    __slots__ = ("mirror", "original_s", "request", "response", "schema", "since", "size", "value")

    def __init__(
        self,
        request: InferRequest,
        response: InferResponse,
        schema: ModelSchema,
        mirror: Mirror,
        original_s: float,
        *,
        value: str,
        since: float,
        size: int,
    ) -> None:
        self.request = request
        self.response = response
        self.schema = schema
        self.mirror = mirror
        self.original_s = original_s
        self.value = value
        self.since = since
        self.size = size

    def message(self) -> InferRequest:
        """Return the request to send: without what belongs to the original's client, urgency or trace."""
        original = self.request
        parameters = original.parameters
        if parameters:
            parameters = {name: value for name, value in parameters.items() if name not in _OF_THE_ORIGINAL}
        return InferRequest(
            original.model, inputs=original.inputs, outputs=original.outputs, parameters=parameters, is_copy=True
        )


def size_of(request: InferRequest, response: InferResponse) -> int:
    """Return the bytes of tensors that a copy keeps alive, its own answer, probably as large as the first, included."""
    inputs, outputs = ([len(tensor.data) for tensor in tensors] for tensors in (request.inputs, response.outputs))
    return sum(inputs) + 2 * sum(outputs)
