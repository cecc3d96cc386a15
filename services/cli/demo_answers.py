"""Sends a held-out set with the official clients to the gateway and to Triton, and compares byte by byte."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.cli.stack import Endpoints

_INPUT, _OUTPUT = "image", "logits"
Images = npt.NDArray[np.float32]
# Sends one image, returns the raw output and the version that gave it.
Ask = Callable[[Images], tuple[npt.NDArray[Any], int]]


@dataclass(slots=True)
class Comparison:
    """What came back.

    Attributes:
        samples: Inputs in the held-out set.
        answers: Answers of the gateway, over both protocols.
        identical: Of these, the ones whose output bytes are Triton's.
        correct: Of these, the ones whose highest score is the label's.
        versions: The versions that answered.
    """

    samples: int = 0
    answers: int = 0
    identical: int = 0
    correct: int = 0
    versions: set[int] = field(default_factory=set)

    @property
    def accuracy(self) -> float:
        """Share of correct answers."""
        return self.correct / self.answers if self.answers else 0.0


def compare(endpoints: Endpoints, data: Path, model: str) -> Comparison:
    """Send every image alone to the gateway and to Triton, over REST and over gRPC.

    Args:
        endpoints: Where both listen.
        data: npz file with ``image`` and ``labels``.
        model: Model to ask; the gateway's route table decides the version, and Triton is asked for the same one.
    """
    with np.load(data, allow_pickle=False) as archive:
        images, labels = archive[_INPUT], archive["labels"]
    found = Comparison(samples=len(images))
    for open_client, gateway_address, triton_address in (
        (_rest, endpoints.rest, endpoints.triton_rest),
        (_grpc, endpoints.grpc, endpoints.triton_grpc),
    ):
        gateway = open_client(gateway_address, model, 0)
        direct: dict[int, Ask] = {}
        for image, label in zip(images, labels, strict=True):
            mine, version = gateway(image[None])
            if version not in direct:
                direct[version] = open_client(triton_address, model, version)
            theirs, _ = direct[version](image[None])
            found.answers += 1
            found.identical += mine.dtype == theirs.dtype and mine.tobytes() == theirs.tobytes()
            found.correct += int(mine.argmax()) == int(label)
            found.versions.add(version)
    return found


def _rest(address: str, model: str, version: int) -> Ask:
    import tritonclient.http as triton

    return _ask(triton, triton.InferenceServerClient(address), model, version)


def _grpc(address: str, model: str, version: int) -> Ask:
    import tritonclient.grpc as triton

    return _ask(triton, triton.InferenceServerClient(address), model, version)


def _ask(library: Any, client: Any, model: str, version: int) -> Ask:
    def ask(image: Images) -> tuple[npt.NDArray[Any], int]:
        tensor = library.InferInput(_INPUT, list(image.shape), "FP32")
        tensor.set_data_from_numpy(np.ascontiguousarray(image, dtype=np.float32))
        answer = client.infer(model, [tensor], model_version=str(version or ""))
        response = answer.get_response()
        answered = response["model_version"] if isinstance(response, dict) else response.model_version
        return answer.as_numpy(_OUTPUT), int(answered)

    return ask
