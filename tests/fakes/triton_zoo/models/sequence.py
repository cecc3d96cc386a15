"""Adds up the values of each sequence."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.totals = {}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        given = {tensor.name(): tensor.as_numpy().reshape(-1) for tensor in request.inputs()}
        key = given["CORRID"][0]
        if given["START"][0]:
            self.totals[key] = 0
        total = self.totals[key] = self.totals[key] + int(given["VALUE"].sum())
        if given["END"][0]:
            del self.totals[key]
        rows = len(given["VALUE"])
        return pb_utils.InferenceResponse([pb_utils.Tensor("TOTAL", np.full((rows, 1), total, np.int32))])
