"""Says which parameters, id, sequence and outputs arrived."""

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests: list[Any]) -> Any:
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        seen = {
            "parameters": json.loads(request.parameters() or "{}"),
            "id": request.request_id(),
            "sequence": request.correlation_id(),
            "flags": request.flags(),
            "outputs": sorted(request.requested_output_names()),
        }
        text = json.dumps(seen, sort_keys=True).encode()
        output = pb_utils.Tensor("SEEN", np.array([text], np.object_))
        return pb_utils.InferenceResponse([output])
