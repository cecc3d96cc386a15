"""A model whose versions are the same but for one known fault each. It sleeps, and leaves the CPU to others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MODEL = "selftest"
WIDTH = 4
_ROWS = 4000
_SEED = 7
_Z99 = 2.3263  # the 99th percentile of a normal distribution, in deviations


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a version. Which requests are hit follows from the input: one input is always answered alike.

    Attributes:
        slower: Every answer takes so many times as long.
        longer_tail: So many times as long takes the slowest answer of a hundred, and the median as long as ever.
        errors: Share of the requests that fail.
        wrong: Share of the requests that get another class.
        not_finite: Share of the requests that get a NaN.
        kept_bytes: Memory that is kept for good with every request.
    """

    slower: float = 1.0
    longer_tail: float = 1.0
    errors: float = 0.0
    wrong: float = 0.0
    not_finite: float = 0.0
    kept_bytes: int = 0


NONE = Fault()


@dataclass(frozen=True, slots=True)
class Pace:
    """How long answers take: a lognormal time that depends on the input.

    Attributes:
        median_s: Its median, seconds.
        sigma: Standard deviation of its logarithm.
        instances: Requests that a version answers at the same time.
    """

    median_s: float = 0.004
    sigma: float = 0.4
    instances: int = 4


USUAL = Pace()


def publish(repository: Path, version: int, fault: Fault = NONE, pace: Pace = USUAL) -> None:
    """Write a version; it appears in one step. All versions of a model have the instances of the first."""
    folder = repository / MODEL
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.pbtxt").is_file():
        (folder / "labels.txt").write_text("red\ngreen\nblue\n", encoding="utf-8")
        (folder / "config.pbtxt").write_text(_CONFIG % pace.instances, encoding="utf-8")
    staged = folder / f".{version}"
    staged.mkdir()
    sigma = pace.sigma + math.log(fault.longer_tail) / _Z99
    values = {name: repr(getattr(fault, name)) for name in Fault.__dataclass_fields__}
    (staged / "model.py").write_text(_CODE.format(**values, median_s=pace.median_s, sigma=sigma), encoding="utf-8")
    staged.rename(folder / str(version))


def write_data(path: Path) -> None:
    """Write inputs, no two alike, in the form that the load generator reads."""
    rows = np.random.default_rng(_SEED).standard_normal((_ROWS, WIDTH)).astype(np.float32)
    np.savez(path, x=rows, labels=rows[:, :3].argmax(axis=1))


_CONFIG = f"""name: "{MODEL}"
backend: "python"
max_batch_size: 8
input [{{ name: "x" data_type: TYPE_FP32 dims: [{WIDTH}] }}]
output [{{ name: "scores" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt" }}]
instance_group [{{ kind: KIND_CPU count: %d }}]
model_warmup [{{
  name: "zeros" batch_size: 1
  inputs {{ key: "x" value {{ data_type: TYPE_FP32 dims: [{WIDTH}] zero_data: true }} }}
}}]
"""

_CODE = '''"""Answers the first three inputs as scores, after a while that depends on the input."""

import time
import zlib

import numpy as np
import triton_python_backend_utils as pb_utils

SLOWER, ERRORS, WRONG, NOT_FINITE = {slower}, {errors}, {wrong}, {not_finite}
KEPT_BYTES = {kept_bytes}
MEDIAN_S, SIGMA = {median_s}, {sigma}


class TritonPythonModel:
    def initialize(self, args):
        self.kept = []

    def execute(self, requests):
        return [self.answer(pb_utils.get_input_tensor_by_name(request, "x").as_numpy()) for request in requests]

    def answer(self, x):
        if KEPT_BYTES:
            self.kept.append(b"x" * KEPT_BYTES)
        chance = np.random.default_rng(zlib.crc32(x.tobytes()))
        time.sleep(SLOWER * MEDIAN_S * float(np.exp(SIGMA * chance.standard_normal())))
        luck = chance.random()
        if luck < ERRORS:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("a known fault"))
        scores = x[:, :3].copy()
        if luck < WRONG:
            scores = np.roll(scores, 1, axis=1)
        if luck < NOT_FINITE:
            scores[0, 0] = np.nan
        return pb_utils.InferenceResponse([pb_utils.Tensor("scores", scores)])
'''
