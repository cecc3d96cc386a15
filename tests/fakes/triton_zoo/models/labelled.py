"""Gives scores, which have labels, and the order of them, which has none."""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests: list[Any]) -> Any:
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        scores = pb_utils.get_input_tensor_by_name(request, "FEATURES").as_numpy()
        order = np.argsort(-scores, axis=-1, kind="stable").astype(np.int64)
        return pb_utils.InferenceResponse([pb_utils.Tensor("SCORES", scores), pb_utils.Tensor("ORDER", order)])
