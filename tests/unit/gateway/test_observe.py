"""What answers say about their version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.core.counts.tally import Tally
from services.core.errors import UpstreamFailure
from services.core.inference import InferResponse, ModelSchema, TensorSpec
from services.core.tensor import Tensor
from services.gateway.metrics.recorder import Recorder
from services.gateway.metrics.slab import SlabReader, SlabWriter, create_slab_file
from services.gateway.metrics.tallies import tallies
from services.gateway.observe import observe

DTYPES = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}


def seen(
    folder: Path,
    tensor: Tensor,
    max_batch_size: int = 8,
    *,
    datatype: str = "FP32",
    dims: tuple[int, ...] | None = None,
) -> Tally:
    """Return what one answer adds to the tally."""
    create_slab_file(folder / "slab", 1 << 20)
    dims = dims or ((-1, 3) if max_batch_size else (3,))
    spec = TensorSpec("scores", datatype, dims, labels=True)
    schema = ModelSchema("digits", 1, {}, {"scores": spec}, max_batch_size)
    recorder = Recorder(SlabWriter(folder / "slab"))
    observe(InferResponse("digits", 1, "", [tensor]), schema, recorder.answers("digits", 1, "stable"))
    return tallies(SlabReader(folder / "slab").records()).get(("digits", 1, "stable"), Tally())


@pytest.mark.parametrize("datatype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 99_999])
def test_one_value_that_is_no_number_is_found_wherever_it_is(
    tmp_path: Path, datatype: str, bad: float, place: int
) -> None:
    values = np.ones(100_000, DTYPES[datatype])
    values[place] = bad
    assert seen(tmp_path, Tensor("other", datatype, (1, 100_000), values.tobytes())).non_finite == 1


@pytest.mark.parametrize("datatype", DTYPES)
def test_the_largest_finite_values_are_numbers(tmp_path: Path, datatype: str) -> None:
    values = np.full(1000, np.finfo(DTYPES[datatype]).max, DTYPES[datatype])
    assert seen(tmp_path, Tensor("other", datatype, (1, 1000), values.tobytes())).non_finite == 0


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("classes", [1, 5, 10, 11, 21, 22, 32, 33, 64, 65, 100])
def test_small_and_large_tensors_are_looked_at_alike(tmp_path: Path, datatype: str, rows: int, classes: int) -> None:
    """Below and above the size where NumPy begins, with ties, and with values whose sum is no number."""
    chance = np.random.default_rng(rows * classes)
    values = chance.integers(-3, 3, (rows, classes)).astype(DTYPES[datatype])
    values[0, 0] = values[-1, -1] = np.finfo(DTYPES[datatype]).max
    folders = iter([tmp_path / str(number) for number in range(5)])

    def look(array: np.ndarray[Any, Any]) -> Tally:
        (folder := next(folders)).mkdir()
        tensor = Tensor("scores", datatype, (rows, classes), array.tobytes())
        return seen(folder, tensor, datatype=datatype, dims=(-1, classes))

    best = np.bincount(values.argmax(axis=1), minlength=classes)
    assert look(values).predictions == {"scores": tuple(best.tolist())}
    for bad in (np.nan, np.inf, -np.inf):
        spoilt = values.copy()
        spoilt[-1, classes // 2] = bad
        tally = look(spoilt)
        assert (tally.non_finite, tally.predictions) == (1, {})


@pytest.mark.parametrize(("bits", "count"), [(0x7F80, 1), (0xFF80, 1), (0x7FC0, 1), (0x7F7F, 0), (0, 0)])
def test_brain_floats_are_looked_at_by_their_bits(tmp_path: Path, bits: int, count: int) -> None:
    data = np.array([0x3F80, bits], "<u2").tobytes()
    assert seen(tmp_path, Tensor("other", "BF16", (1, 2), data)).non_finite == count


def test_each_row_of_a_batch_counts_its_best_class(tmp_path: Path) -> None:
    values = np.array([[1, 2, 3], [3, 2, 1], [0, 0, 9]], "<f4")
    assert seen(tmp_path, Tensor("scores", "FP32", (3, 3), values.tobytes())).predictions == {"scores": (1, 0, 2)}


def test_a_model_without_batches_has_one_row(tmp_path: Path) -> None:
    values = np.array([1, 5, 3], "<f4")
    tally = seen(tmp_path, Tensor("scores", "FP32", (3,), values.tobytes()), max_batch_size=0)
    assert tally.predictions == {"scores": (0, 1, 0)}


def _texts(*texts: str) -> bytes:
    return b"".join(len(text).to_bytes(4, "little") + text.encode() for text in texts)


def test_classification_answers_count_the_first_class_of_each_row(tmp_path: Path) -> None:
    data = _texts("9.5:2:two", "1.0:0:zero", "7.5:1:a:label", "0.1:2:two")
    assert seen(tmp_path, Tensor("scores", "BYTES", (2, 2), data)).predictions == {"scores": (0, 1, 1)}


def test_a_classification_that_is_none_is_a_failure_of_the_upstream(tmp_path: Path) -> None:
    with pytest.raises(UpstreamFailure, match="score:index:label"):
        seen(tmp_path, Tensor("scores", "BYTES", (1, 1), _texts("nonsense")))


def test_an_answer_with_a_nan_has_no_best_class(tmp_path: Path) -> None:
    values = np.array([[1, np.nan, 3]], "<f4")
    tally = seen(tmp_path, Tensor("scores", "FP32", (1, 3), values.tobytes()))
    assert (tally.non_finite, tally.predictions) == (1, {})


def test_text_with_labels_is_an_answer_and_no_classification(tmp_path: Path) -> None:
    tensor = Tensor("scores", "BYTES", (1, 2), _texts("any", "words"))
    assert seen(tmp_path, tensor, datatype="BYTES").predictions == {}


@pytest.mark.parametrize("datatype", ["INT8", "UINT8", "INT32", "UINT64"])
def test_whole_numbers_are_scores_too(tmp_path: Path, datatype: str) -> None:
    dtype = {"INT8": "<i1", "UINT8": "<u1", "INT32": "<i4", "UINT64": "<u8"}[datatype]
    values = np.array([[1, 2, 3], [3, 2, 1]], dtype)
    tally = seen(tmp_path, Tensor("scores", datatype, (2, 3), values.tobytes()), datatype=datatype)
    assert tally.predictions == {"scores": (1, 0, 1)}


def test_classification_of_any_number_of_classes_is_not_counted(tmp_path: Path) -> None:
    tensor = Tensor("scores", "BYTES", (1, 1), _texts("9.5:2:two"))
    assert seen(tmp_path, tensor, dims=(-1, -1)).predictions == {}
