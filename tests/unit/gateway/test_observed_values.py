"""How confident the answers are, or how large: counted by row."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from services.core.counts.tally import Tally
from services.core.counts.value_histogram import ValueHistogram, bin_of
from services.core.inference import InferResponse, ModelSchema, TensorSpec
from services.core.tensor import Tensor
from services.gateway.metrics.recorder import Recorder
from services.gateway.metrics.slab import SlabReader, SlabWriter, create_slab_file
from services.gateway.metrics.tallies import tallies
from services.gateway.metrics.value_series import MAX_OUTPUTS
from services.gateway.observe import observe

DTYPES = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "INT8": "<i1", "INT32": "<i4", "INT64": "<i8", "UINT64": "<u8"}


def seen(folder: Path, *tensors: Tensor, labels: bool, batches: bool = True, datatype: str = "FP32") -> Tally:
    """Return what answers of one output each add to the tally."""
    create_slab_file(folder / "slab", 4 << 20)
    recorder = Recorder(SlabWriter(folder / "slab"))
    series = recorder.answers("m", 1, "stable")
    for tensor in tensors:
        spec = TensorSpec(tensor.name, datatype, (-1, 3), labels=labels)
        schema = ModelSchema("m", 1, {}, {tensor.name: spec}, 64 if batches else 0)
        observe(InferResponse("m", 1, "", [tensor]), schema, series)
    return tallies(SlabReader(folder / "slab").records()).get(("m", 1, "stable"), Tally())


def tensor(values: npt.ArrayLike, datatype: str = "FP32", name: str = "y") -> Tensor:
    array = np.asarray(values, DTYPES[datatype])
    return Tensor(name, datatype, array.shape, array.tobytes())


def histogram(values: list[float], squares: int) -> ValueHistogram:
    counts: dict[int, int] = {}
    for value in values:
        counts[bin_of(value)] = counts.get(bin_of(value), 0) + 1
    return ValueHistogram(counts, squares)


@pytest.mark.parametrize("datatype", DTYPES)
@pytest.mark.parametrize("rows", [1, 3, 40, 64])
def test_a_scalar_output_counts_the_number_of_each_row(tmp_path: Path, datatype: str, rows: int) -> None:
    """On both sides of the size where NumPy begins."""
    values = [[2 * number + 1] for number in range(rows)]
    found = seen(tmp_path, tensor(values, datatype), labels=False, datatype=datatype)
    assert found.values == {"mean:y": histogram([row[0] for row in values], rows**2)}
    assert found.predictions == {}


@pytest.mark.parametrize("columns", [3, 8, 64, 65, 500])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_longer_output_counts_the_mean_of_each_row(tmp_path: Path, columns: int, rows: int) -> None:
    values = np.tile(np.arange(rows, dtype="<f4")[:, None] * 10 + 5.3, columns)
    values[:, 0] -= 2
    values[:, 1] += 2
    found = seen(tmp_path, tensor(values), labels=False)
    assert found.values == {"mean:y": histogram([10 * row + 5.3 for row in range(rows)], rows**2)}


def test_a_very_long_output_counts_the_mean_of_elements_that_are_evenly_apart(tmp_path: Path) -> None:
    values = np.full((1, 100_000), 3.0, "<f4")
    values[0, :50_000] = 1.0
    found = seen(tmp_path, tensor(values), labels=False).values["mean:y"].quantile(0.5)
    assert found == pytest.approx(2.0, rel=1 / 32)


@pytest.mark.parametrize("channel", range(3))
def test_the_mean_of_a_picture_is_of_all_its_channels(tmp_path: Path, channel: int) -> None:
    values = np.full((1, 224, 224, 3), 3.0, "<f4")
    values[..., channel] = 0.0
    found = seen(tmp_path, tensor(values), labels=False).values["mean:y"].quantile(0.5)
    assert found == pytest.approx(2.0, rel=1 / 16)


@pytest.mark.parametrize("columns", [4, 100])
def test_a_sum_that_no_float_holds_has_a_mean(tmp_path: Path, columns: int) -> None:
    largest = np.full((2, columns), np.finfo("<f8").max)
    largest[1] *= -1
    found = seen(tmp_path, tensor(largest, "FP64"), labels=False, datatype="FP64")
    assert found.values == {"mean:y": histogram([1e300, -1e300], 4)}
    one = tmp_path / "one"
    one.mkdir()
    assert seen(one, tensor(largest[:1], "FP64"), labels=False).values == {"mean:y": histogram([1e300], 1)}


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
@pytest.mark.parametrize("columns", [3, 100])
@pytest.mark.parametrize("rows", [1, 4])
def test_labelled_outputs_count_the_score_of_the_first_class(
    tmp_path: Path, datatype: str, columns: int, rows: int
) -> None:
    values = np.full((rows, columns), 0.01)
    values[:, 1] = [0.3 + 0.125 * row for row in range(rows)]
    found = seen(tmp_path, tensor(values, datatype), labels=True, datatype=datatype)
    expected = np.asarray(values[:, 1], DTYPES[datatype]).tolist()
    assert found.values == {"confidence:y": histogram(expected, rows**2)}


def test_whole_numbers_with_labels_have_classes_and_no_confidence(tmp_path: Path) -> None:
    found = seen(tmp_path, tensor([[1, 5, 2]], "INT32"), labels=True, datatype="INT32")
    assert (found.predictions, found.values) == ({"y": (0, 1, 0)}, {})


def test_classification_answers_tell_the_score_of_the_first_class_of_each_row(tmp_path: Path) -> None:
    texts = ["0.75:2:two", "0.25:0:zero", "0.5:1:a:label", "0.1:2:two", "nan:1:x", "nan:2:y"]
    data = b"".join(len(text).to_bytes(4, "little") + text.encode() for text in texts)
    found = seen(tmp_path, Tensor("y", "BYTES", (3, 2), data), labels=True)
    assert found.values["confidence:y"].counts == histogram([0.75, 0.5], 4).counts
    assert found.predictions == {"y": (0, 2, 1)}


def test_answers_that_are_not_finite_have_no_distribution(tmp_path: Path) -> None:
    found = seen(tmp_path, tensor([[1.0, np.nan, 2.0]]), tensor([[np.inf] * 200]), labels=False)
    assert (found.non_finite, found.values) == (2, {})


def test_a_model_without_batches_has_one_row_and_an_empty_batch_none(tmp_path: Path) -> None:
    found = seen(tmp_path, tensor([1.0, 2.0, 3.0]), labels=False, batches=False)
    assert found.values == {"mean:y": histogram([2.0], 1)}
    empty = tmp_path / "empty"
    empty.mkdir()
    assert seen(empty, tensor(np.zeros((0, 3))), labels=False).values == {}


def test_batches_of_unequal_size_say_how_many_draws_their_rows_are_worth(tmp_path: Path) -> None:
    found = seen(tmp_path, tensor([[1.0]]), tensor([[1.0]] * 7), tensor([[2.0]] * 40), labels=False)
    assert found.values == {"mean:y": histogram([1.0] * 8 + [2.0] * 40, 1 + 7**2 + 40**2)}


def test_outputs_beyond_the_bound_are_not_counted(tmp_path: Path) -> None:
    answers = [tensor([[1.0]], name=f"y{number}") for number in range(MAX_OUTPUTS + 3)] * 2
    found = seen(tmp_path, *answers, labels=False).values
    assert set(found) == {f"mean:y{number}" for number in range(MAX_OUTPUTS)}
    assert {histogram.rows for histogram in found.values()} == {2}
