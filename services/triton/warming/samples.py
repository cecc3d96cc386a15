"""The samples that the build left beside a version, as requests, and the answers that belong to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from services.core.errors import IntegrityError
from services.core.inference import InferRequest, InferResponse
from services.core.records.manifest import Manifest
from services.core.tensor import Tensor

_INPUT, _OUTPUT = "input/", "output/"
# The same arithmetic on another processor: some units in the last place, relative to the largest answer.
_RELATIVE, _ABSOLUTE = 1e-3, 1e-5
_DTYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of one version.

    Attributes:
        manifest: The version's.
        inputs: By name; the first dimension counts the samples.
        outputs: What the version answered to them when it was built, by name.
    """

    manifest: Manifest
    inputs: Arrays
    outputs: Arrays

    @classmethod
    def read(cls, folder: Path, manifest: Manifest) -> Samples:
        """Read a version's samples.

        Raises:
            IntegrityError: They cannot be read, or are not those of such a version.
        """
        path = folder / manifest.warmup.file
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, BadZipFile, EOFError) as error:
            raise IntegrityError(
                f"{path}: warm-up samples cannot be read ({error}); build the version again"
            ) from error
        inputs = {name.removeprefix(_INPUT): array for name, array in arrays.items() if name.startswith(_INPUT)}
        outputs = {name.removeprefix(_OUTPUT): array for name, array in arrays.items() if name.startswith(_OUTPUT)}
        expected = ({one.name for one in manifest.inputs}, {one.name for one in manifest.outputs})
        sizes = {len(array) for array in arrays.values()}
        if (set(inputs), set(outputs)) != expected or sizes != {manifest.warmup.samples}:
            raise IntegrityError(
                f"{path}: warm-up samples for {', '.join(sorted(arrays))} with {sizes} rows; expected "
                f"{manifest.warmup.samples} rows for each input and output of the manifest"
            )
        return cls(manifest, inputs, outputs)

    def rows(self, start: int, count: int) -> npt.NDArray[np.int64]:
        """Return the rows of a request of that many; after the last one the first comes again."""
        return np.arange(start, start + count) % self.manifest.warmup.samples

    def request(self, rows: npt.NDArray[np.int64]) -> InferRequest:
        """Return a request of these rows."""
        tensors = []
        for spec in self.manifest.inputs:
            array = np.ascontiguousarray(self.inputs[spec.name][rows], _DTYPES[spec.datatype])
            tensors.append(Tensor(spec.name, spec.datatype, array.shape, array.tobytes()))
        return InferRequest(self.manifest.model, inputs=tensors)

    def differences(self, response: InferResponse, rows: npt.NDArray[np.int64]) -> Iterator[str]:
        """Yield in what an answer differs from the build's by more than the manifest tolerates."""
        answered = {tensor.name: tensor for tensor in response.outputs}
        for spec in self.manifest.outputs:
            wanted = self.outputs[spec.name][rows]
            tensor = answered.get(spec.name)
            if tensor is None or tensor.datatype != spec.datatype or tuple(tensor.shape) != wanted.shape:
                found = "missing" if tensor is None else f"{tensor.datatype} {list(tensor.shape)}"
                yield f"output '{spec.name}' is {found}, expected {spec.datatype} {list(wanted.shape)}"
                continue
            given = np.frombuffer(tensor.data, _DTYPES[spec.datatype]).reshape(wanted.shape)
            yield from self._unlike(spec.name, given, wanted)

    def _unlike(self, name: str, given: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> Iterator[str]:
        if not np.issubdtype(wanted.dtype, np.floating):
            if not np.array_equal(given, wanted):
                yield f"output '{name}' has {int((given != wanted).sum())} other values of {wanted.size}"
            return
        given, wanted = given.astype(np.float64), wanted.astype(np.float64)
        finite = np.isfinite(wanted)
        if not np.array_equal(finite, np.isfinite(given)):
            yield f"output '{name}' is not finite where it was when it was built, or the other way round"
            return
        if not finite.any():
            return
        allowed = self.manifest.tolerance(name) + _RELATIVE * float(np.abs(wanted[finite]).max()) + _ABSOLUTE
        furthest = float(np.abs(given[finite] - wanted[finite]).max())
        if furthest > allowed:
            yield f"output '{name}' is off by {furthest:.4g} of the build's answers, {allowed:.4g} is allowed"
