"""Adds and subtracts; version 2 adds 1000 to the sum, so that an answer shows who gave it."""

from typing import Any

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self.offset = 1000 if args["model_version"] == "2" else 0

    def execute(self, requests: list[Any]) -> Any:
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        total = given["LEFT"] + given["RIGHT"] + given.get("BIAS", 0) + self.offset
        outputs = {"SUM": total, "DIFFERENCE": given["LEFT"] - given["RIGHT"]}
        wanted = request.requested_output_names()
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, outputs[name]) for name in outputs if name in wanted])
