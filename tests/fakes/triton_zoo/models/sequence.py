"""Adds up the values of each sequence."""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self.totals: dict[Any, int] = {}

    def execute(self, requests: list[Any]) -> Any:
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        given = {tensor.name(): tensor.as_numpy().reshape(-1) for tensor in request.inputs()}
        key = request.correlation_id()
        if given["START"][0]:
            self.totals[key] = 0
        total = self.totals[key] = self.totals[key] + int(given["VALUE"].sum())
        if given["END"][0]:
            del self.totals[key]
        rows = len(given["VALUE"])
        return pb_utils.InferenceResponse([pb_utils.Tensor("TOTAL", np.full((rows, 1), total, np.int32))])
