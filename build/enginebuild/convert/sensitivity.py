"""Which operators INT8 hurts: each quantised alone, and the worst ones left out of it until the bounds are met."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from enginebuild.convert.int8 import Int8Converter
from enginebuild.datatypes import Arrays, is_floating
from enginebuild.runtime import OnnxModel
from services.core.errors import BuildFailed
from services.core.records.manifest import LayerEntry

# The error of an output that is no number: JSON cannot carry an infinite one.
_NO_NUMBER = 1e6


def sensitivity(
    converter: Int8Converter, baseline: OnnxModel, inputs: Arrays, batch_size: int
) -> tuple[LayerEntry, ...]:
    """Return what quantising each operator alone does to the outputs, worst first.

    Measured on the calibration data, not on the held-out data: what is left out of INT8 is chosen by it, and the data
    that judge a choice must take no part in it.

    Args:
        converter: Makes the forms.
        baseline: The FP32 model.
        inputs: Calibration inputs.
        batch_size: Samples per inference.
    """
    expected = baseline.run_all(inputs, batch_size)
    path = baseline.path.with_name("one_operator.onnx")
    found = []
    for name in converter.candidates:
        try:
            converter.convert_only(path, name)
        except BuildFailed:
            continue  # an operator that cannot be quantised alone hurts nobody
        outputs = OnnxModel(path, baseline.threads).run_all(inputs, batch_size)
        found.append(LayerEntry(name, converter.operators[name], relative_error(expected, outputs)))
    path.unlink(missing_ok=True)
    return tuple(sorted(found, key=lambda layer: -layer.error))


def relative_error(expected: Arrays, found: Arrays) -> float:
    """Return the largest of the outputs' root mean square differences, each relative to the output's own size."""
    errors = [0.0]
    for name, wanted in expected.items():
        if not is_floating(wanted):
            continue
        want, have = wanted.astype(np.float64), found[name].astype(np.float64)
        size = float(np.sqrt(np.square(want).mean())) or 1.0
        if not np.isfinite(have).all():
            return _NO_NUMBER
        errors.append(min(float(np.sqrt(np.square(want - have).mean())) / size, _NO_NUMBER))
    return max(errors)


def fewest_kept(worst_first: Sequence[str], is_enough: Callable[[Sequence[str]], bool]) -> tuple[str, ...] | None:
    """Return the shortest run of the worst operators that is enough to leave out of INT8; None where none is.

    It doubles the run until it is enough, then halves the step: for n operators at most 2 log2(n) + 2 trials.
    """
    total = len(worst_first)
    low, high = 0, 1
    while high < total and not is_enough(worst_first[:high]):
        low, high = high, min(2 * high, total)
    if high >= total:
        high = total - 1  # all of them kept would be FP32 under another name
        if high <= low or not is_enough(worst_first[:high]):
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if is_enough(worst_first[:middle]):
            high = middle
        else:
            low = middle
    return tuple(worst_first[:high])
