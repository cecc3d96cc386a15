"""Fails in the way that its input names; 0 is an answer."""

from typing import Any

import triton_python_backend_utils as pb_utils

CODES = {
    1: "UNKNOWN",
    2: "INTERNAL",
    3: "NOT_FOUND",
    4: "INVALID_ARG",
    5: "UNAVAILABLE",
    6: "UNSUPPORTED",
    7: "ALREADY_EXISTS",
    8: "CANCELLED",
}


class TritonPythonModel:
    def execute(self, requests: list[Any]) -> Any:
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        tensor = pb_utils.get_input_tensor_by_name(request, "CODE")
        code = int(tensor.as_numpy()[0])
        if code in CODES:
            name = CODES[code]
            return pb_utils.InferenceResponse(
                [], pb_utils.TritonError(f"asked for {name}", getattr(pb_utils.TritonError, name))
            )
        if code == 9:
            return pb_utils.InferenceResponse([], pb_utils.TritonError('größe "quoted" \n line'))
        if code == 10:
            raise ValueError("the whole batch fails")
        if code == 11:
            return pb_utils.InferenceResponse([])
        return pb_utils.InferenceResponse([tensor])
