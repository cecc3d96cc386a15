"""Says which parameters, id, sequence and outputs arrived."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
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
