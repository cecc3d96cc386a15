"""How two answers to one request differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.inference import ModelSchema, TensorSpec
from services.core.mirror import Mirror
from services.core.tensor import ITEM_SIZE, Tensor
from services.gateway.mirroring.compare import Comparer
from services.gateway.mirroring.result import OutputResult, PairResult

MIRROR = Mirror(2, 100, scores=True)
BY_CLASS = Mirror(2, 100)


class WholeComparer(Comparer):
    """Compares without a break."""

    def whole(self, one: list[Tensor], other: list[Tensor], about: ModelSchema, mirror: Mirror) -> PairResult:
        work = self.compare(one, other, about, mirror)
        while True:
            try:
                next(work)
            except StopIteration as end:
                result: PairResult = end.value
                return result


COMPARER = WholeComparer(1 << 20)
DTYPES = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "INT32": "<i4", "INT8": "<i1", "UINT64": "<u8", "BOOL": "?"}


def tensor(values: Any, datatype: str = "FP32", name: str = "scores") -> Tensor:
    array = np.array(values, DTYPES[datatype])
    return Tensor(name, datatype, array.shape, array.tobytes())


def texts(*values: str, name: str = "scores", rows: int = 1) -> Tensor:
    data = b"".join(len(value.encode()).to_bytes(4, "little") + value.encode() for value in values)
    return Tensor(name, "BYTES", (rows, len(values) // rows), data)


def schema(datatype: str = "FP32", *, labels: bool = True, dims: tuple[int, ...] = (-1, 3)) -> ModelSchema:
    return ModelSchema("m", 1, {}, {"scores": TensorSpec("scores", datatype, dims, labels=labels)}, max_batch_size=64)


def compare(one: Tensor, other: Tensor, **about: Any) -> PairResult:
    return COMPARER.whole([one], [other], schema(one.datatype, **about), MIRROR)


def only(result: PairResult) -> OutputResult:
    (output,) = result.outputs
    return output


@pytest.mark.parametrize("datatype", ["FP32", "INT32"])
def test_of_labelled_classes_the_first_counts_where_nobody_asks_for_the_scores(datatype: str) -> None:
    one, moved, other = (tensor([row], datatype) for row in ([1, 2, 9], [3, 4, 8], [9, 4, 8]))
    about = schema(datatype)
    result = COMPARER.whole([one], [moved], about, BY_CLASS)
    assert (result.differing, result.agree) == (False, True)
    assert only(result).absolute == 2.0
    assert COMPARER.whole([one], [other], about, BY_CLASS).differing
    assert COMPARER.whole([one], [moved], about, MIRROR).differing
    assert COMPARER.whole([one], [moved], schema(datatype, labels=False), BY_CLASS).differing
    assert COMPARER.whole([tensor([[1, np.nan, 9]])], [tensor([[1, 2, 9]])], schema(), BY_CLASS).differing


def test_of_classes_that_a_client_asked_for_the_first_counts_likewise() -> None:
    one, moved, other = (texts(*row) for row in (("9:2:c", "2:1:b"), ("8:2:c", "1:0:a"), ("9:1:b", "2:2:c")))
    assert not COMPARER.whole([one], [moved], schema(), BY_CLASS).differing
    assert COMPARER.whole([one], [other], schema(), BY_CLASS).differing
    assert COMPARER.whole([one], [moved], schema(), MIRROR).differing


def test_equal_answers_do_not_differ() -> None:
    result = compare(tensor([[1, 2, 3], [4, 6, 5]]), tensor([[1, 2, 3], [4, 6, 5]]))
    assert result == PairResult(False, False, True, True, (OutputResult("scores", True, True, False, 0, 0, 0, 0),))


def test_what_is_within_the_tolerance_does_not_differ_and_is_measured() -> None:
    result = compare(tensor([[1.0, 2.0, 4.0]], "FP64"), tensor([[1.0, 2.0, 4.002]], "FP64"))
    assert (result.differing, result.agree) == (False, True)
    output = only(result)
    assert output.absolute == pytest.approx(0.002)
    assert output.relative == pytest.approx(0.002 / 4.002)
    assert output.cosine is not None
    assert 0 < output.cosine < 1e-6


def test_one_element_beyond_the_tolerance_makes_the_pair_differ() -> None:
    same_class = compare(tensor([[1, 2, 9], [1, 2, 9]]), tensor([[1, 2, 9], [1, 2.01, 9]]))
    assert (same_class.differing, same_class.mismatched, same_class.agree) == (True, False, True)


def test_another_first_class_makes_a_labelled_output_differ_however_close_the_scores_are() -> None:
    one, other = tensor([[0.0, 1.0, 1.00001]]), tensor([[0.0, 1.00001, 1.0]])
    labelled, plain = compare(one, other), compare(one, other, labels=False)
    assert (labelled.differing, labelled.ranked, labelled.agree) == (True, True, False)
    assert (plain.differing, plain.ranked, plain.agree) == (False, True, False)
    assert only(plain).divergence is None


def test_only_vectors_rank_something_without_labels() -> None:
    picture, scalar = np.zeros((2, 4, 4)), np.zeros((2, 1))
    assert not compare(tensor(picture), tensor(picture + 1), labels=False).ranked
    assert not compare(tensor(scalar), tensor(scalar + 1), labels=False).ranked
    assert compare(tensor(np.eye(2, 5)), tensor(np.eye(2, 5) * 2), labels=False).agree


def test_values_near_zero_do_not_count_as_changed_by_many_times() -> None:
    output = only(compare(tensor([[1e-9, 0.0, 1.0]]), tensor([[-1e-9, 0.0, 1.0]])))
    assert output.relative == pytest.approx(2e-9)
    nothing = only(compare(tensor([[0.0, 0.0, 0.0]]), tensor([[-0.0, 0.0, 0.0]])))
    assert (nothing.absolute, nothing.relative, nothing.cosine) == (0.0, 0.0, 0.0)
    one_sided = only(compare(tensor([[0.0, 0.0, 0.0]]), tensor([[1e-30, 0.0, 0.0]])))
    assert (one_sided.relative, one_sided.cosine) == (1.0, 1.0)


def test_divergence_is_between_softmaxed_scores_and_of_probabilities_as_they_are() -> None:
    logits = only(compare(tensor([[0.0, 0.0, 0.0]]), tensor([[100.0, 0.0, 0.0]])))
    assert logits.divergence == pytest.approx(2 / 3)
    shares = only(compare(tensor([[0.5, 0.5, 0.0], [1, 0, 0]]), tensor([[0.25, 0.75, 0.0], [1, 0, 0]])))
    assert shares.divergence == pytest.approx(0.25)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_finite_on_one_side_alone_differs_and_is_counted(bad: float) -> None:
    result = compare(tensor([[1.0, bad, 2.0]]), tensor([[1.0, 1.5, 2.0]]))
    assert result.differing
    assert only(result).non_finite
    assert only(result).absolute == 0.0  # the others are equal
    both = compare(tensor([[1.0, bad, 2.0]]), tensor([[1.0, bad, 2.0000001]]), labels=False)
    assert (both.differing, only(both).non_finite) == (False, False)


def sides(result: PairResult) -> tuple[bool, bool, bool, bool]:
    output = only(result)
    return output.non_finite, output.original_non_finite, output.copy_non_finite, output.both_non_finite


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_which_side_is_not_finite_is_told_place_by_place(datatype: str) -> None:
    nan, inf = np.nan, np.inf

    def found(one: list[float], other: list[float]) -> tuple[bool, bool, bool, bool]:
        return sides(compare(tensor([one], datatype), tensor([other], datatype), labels=False))

    assert found([1, nan, 3], [1, 2, 3]) == (True, True, False, False)
    assert found([1, 2, 3], [1, inf, 3]) == (True, False, True, False)
    assert found([nan, 2, 3], [1, nan, 3]) == (True, False, False, False), "each has one of its own"
    assert found([1, nan, 3], [1, inf, 3]) == (True, False, False, False), "a NaN is no infinity"
    assert found([1, inf, 3], [1, -inf, 3]) == (True, False, False, False)
    assert found([nan, nan, 3], [nan, 2, 3]) == (True, True, False, False), "one place is the original's alone"
    assert found([nan, 2, 3], [nan, 9, 3]) == (False, False, False, True), "what else differs is no matter of it"
    assert found([1, -inf, 3], [1, -inf, 3]) == (False, False, False, True), "equal bytes"
    assert found([1, 2, 3], [1, 2, 3]) == (False, False, False, False)


def test_equal_answers_are_looked_at_in_full_in_every_datatype() -> None:
    for datatype in ("FP16", "FP32", "FP64"):
        values = np.ones((1, 300_000))
        values[0, -1] = np.inf
        large = tensor(values, datatype)
        assert sides(COMPARER.whole([large], [large], schema(datatype), MIRROR)) == (False, False, False, True)
    for data, expected in ((b"\x80\x3f\x80\x7f", True), (b"\x80\x3f\x7f\x7f", False)):
        bf16 = Tensor("scores", "BF16", (1, 2), data)
        assert sides(COMPARER.whole([bf16], [bf16], schema("BF16"), MIRROR))[-1] is expected
    for empty_or_whole in (tensor(np.empty((0, 3))), tensor([[1, 2, 3]], "INT32")):
        assert sides(compare(empty_or_whole, empty_or_whole)) == (False, False, False, False)
    classes = texts("nan:2:c", "1:1:b")
    assert sides(COMPARER.whole([classes], [classes], schema(), MIRROR)) == (False, False, False, True)


def test_the_pieces_of_a_long_row_are_one_answer() -> None:
    one, other = np.zeros((1, 1, 20_000)), np.zeros((1, 1, 20_000))
    one[0, 0, 1], other[0, 0, 19_999] = np.nan, np.nan
    about = schema(labels=False, dims=(-1, 1, 20_000))
    assert sides(COMPARER.whole([tensor(one)], [tensor(other)], about, MIRROR)) == (True, False, False, False)
    other[0, 0, 1], other[0, 0, 19_999] = np.nan, 1.0
    assert sides(COMPARER.whole([tensor(one)], [tensor(other)], about, MIRROR)) == (False, False, False, True)


@pytest.mark.parametrize("datatype", ["INT32", "INT8", "UINT64", "BOOL"])
def test_integers_are_compared_exactly(datatype: str) -> None:
    same = compare(tensor([[1, 0, 1]], datatype), tensor([[1, 0, 1]], datatype), labels=False)
    other = compare(tensor([[1, 0, 1]], datatype), tensor([[1, 1, 1]], datatype), labels=False)
    assert not same.differing
    assert other.differing
    assert only(other).absolute == 1.0


def test_bytes_are_compared_exactly() -> None:
    bytes_schema = schema("BYTES", labels=False)
    same = COMPARER.whole([texts("a", "b")], [texts("a", "b")], bytes_schema, MIRROR)
    other = COMPARER.whole([texts("a", "b")], [texts("a", "c")], bytes_schema, MIRROR)
    assert (same.differing, other.differing, other.mismatched) == (False, True, False)
    assert only(other).absolute is None


def test_classifications_are_compared_by_class_and_score() -> None:
    one = texts("0.9:7:seven", "0.1:1:one", "0.8:2:two", "0.2:3:three", rows=2)
    near = texts("0.90001:7:seven", "0.1:1:one", "0.8:2:two", "0.2:3:three", rows=2)
    far = texts("0.9:7:seven", "0.1:1:one", "0.8:3:three", "0.2:2:two", rows=2)
    same = COMPARER.whole([one], [near], schema(), MIRROR)
    other = COMPARER.whole([one], [far], schema(), MIRROR)
    assert (same.differing, same.ranked, same.agree) == (False, True, True)
    assert (other.differing, other.ranked, other.agree) == (True, True, False)


BROKEN = [
    [],
    [tensor([[1, 2, 3]], name="other")],
    [tensor([[1, 2, 3]]), tensor([[1]], name="more")],
    [tensor([[1, 2]])],
    [tensor([1, 2, 3])],
    [tensor([[1, 2, 3]], "FP64")],
    [Tensor("scores", "FP32", (1, 3), b"1234")],
    [Tensor("scores", "FP32", (1, 3), b"")],
    [Tensor("scores", "FP32", (-1, -3), bytes(12))],
    [Tensor("scores", "NONSENSE", (1, 3), bytes(12))],
]


@pytest.mark.parametrize("outputs", BROKEN)
def test_outputs_of_another_form_are_a_mismatch_and_never_an_error(outputs: list[Tensor]) -> None:
    one = [tensor([[1, 2, 3]])]
    for left, right in ((one, outputs), (outputs, one)):
        result = COMPARER.whole(left, right, schema(), MIRROR)
        assert (result.differing, result.mismatched) == (True, True)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0,)])
def test_empty_outputs_are_equal(shape: tuple[int, ...]) -> None:
    empty = Tensor("scores", "FP32", shape, b"")
    assert not compare(empty, Tensor("scores", "FP32", shape, memoryview(b""))).differing


def test_of_a_large_output_evenly_spaced_rows_are_compared() -> None:
    comparer = WholeComparer(1024)
    rows = np.zeros((64, 64), "<f4")  # 256 bytes each: four of them are looked at
    all_but_few = np.ones_like(rows)
    result = comparer.whole([tensor(rows)], [tensor(all_but_few)], schema(labels=False), MIRROR)
    assert result.differing
    last = rows.copy()
    last[-1] = 1.0
    assert comparer.whole([tensor(rows)], [tensor(last)], schema(labels=False), MIRROR).differing
    hidden = rows.copy()
    hidden[1] = 1.0
    assert not comparer.whole([tensor(rows)], [tensor(hidden)], schema(labels=False), MIRROR).differing


def test_of_one_huge_row_evenly_spaced_elements_are_compared_and_nothing_is_ranked() -> None:
    row = np.zeros((1, 4000), "<f4")
    result = WholeComparer(1024).whole([tensor(row)], [tensor(row + 1)], schema(labels=False), MIRROR)
    assert (result.differing, result.ranked) == (True, False)


@pytest.mark.parametrize("shape", [(1, 64, 64, 3), (1, 128, 64), (3, 64, 64, 3)])
@pytest.mark.parametrize("part", range(3))
def test_of_long_rows_every_channel_every_part_and_every_row_is_compared(shape: tuple[int, ...], part: int) -> None:
    one = np.ones(shape, "<f4")
    last, row, half = one.copy(), one.copy(), one.copy()
    last[..., part::3], row[part % shape[0]], half[:, 64 * part // 3 :] = 0.0, 0.0, 0.0
    comparer = WholeComparer(4096)
    for other in (last, row, half):
        result = comparer.whole([tensor(one)], [tensor(other)], schema(labels=False), MIRROR)
        assert result.differing
        assert only(result).absolute == 1.0


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "BF16"])
@pytest.mark.parametrize("shape", [(2, 40_000), (700, 100)], ids=["long rows", "many rows"])
def test_of_a_large_output_all_is_looked_at_for_what_is_not_finite(datatype: str, shape: tuple[int, int]) -> None:
    def stored(values: npt.NDArray[Any]) -> Tensor:
        if datatype == "BF16":
            return Tensor("scores", "BF16", shape, values.astype("<f4").reshape(-1).view("<u2")[1::2].tobytes())
        return tensor(values, datatype)

    comparer, size = WholeComparer(1024), shape[0] * shape[1]
    for place in (1, size // 2 + 1, size - 2):
        one, other = np.ones(shape), np.ones(shape)
        other.flat[place] = np.nan
        about = schema(datatype, labels=False)
        result = comparer.whole([stored(one)], [stored(other)], about, MIRROR)
        assert (result.differing, sides(result)) == (True, (True, False, True, False))
        one.flat[place] = np.nan
        one.flat[0] = 1.5
        assert sides(comparer.whole([stored(one)], [stored(other)], about, MIRROR)) == (False, False, False, True)


@given(
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from(["FP16", "FP32", "FP64"]),
    st.booleans(),
    st.data(),
)
def test_measures_stay_in_their_ranges_whatever_the_values(
    rows: int, columns: int, datatype: str, labels: bool, data: st.DataObject
) -> None:
    size = rows * columns * ITEM_SIZE[datatype]  # type: ignore[operator]  # none of these is BYTES
    one, other = (Tensor("scores", datatype, (rows, columns), data.draw(st.binary(min_size=size, max_size=size)))
                  for _ in range(2))  # fmt: skip
    left: npt.NDArray[Any] = np.frombuffer(one.data, DTYPES[datatype])
    right: npt.NDArray[Any] = np.frombuffer(other.data, DTYPES[datatype])
    forth = compare(one, other, labels=labels)
    back = compare(other, one, labels=labels)
    assert (forth.differing, forth.agree) == (back.differing, back.agree)
    output = only(forth)
    if (np.isfinite(left) != np.isfinite(right)).any():
        assert output.non_finite
    elif np.isfinite(left).all():
        assert not output.non_finite
    for measure, most in (("absolute", np.inf), ("relative", 2.0), ("cosine", 2.0 + 1e-9), ("divergence", 1.0)):
        found = getattr(output, measure)
        assert found is None or 0.0 <= found <= most, (measure, found)


@pytest.mark.parametrize("shape", [(3, 40_000), (9_000, 4), (1, 100_001), (2, 8192), (2, 8193)])
def test_comparing_in_slices_finds_the_same_as_at_once(shape: tuple[int, int]) -> None:
    chance = np.random.default_rng(5)
    left = chance.normal(size=shape).astype("<f4")
    right = (left * (1 + chance.normal(size=shape) * 1e-3)).astype("<f4")
    work = WholeComparer(1 << 30).compare([tensor(left)], [tensor(right)], schema(labels=False), MIRROR)
    slices, found = 0, None
    while found is None:
        try:
            next(work)
            slices += 1
        except StopIteration as end:
            found = end.value
    assert slices >= left.size // 8192 - 1
    a, b = left.astype(np.float64), right.astype(np.float64)
    cosine = 1 - (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    output = only(found)
    assert output.absolute == np.abs(a - b).max()
    assert output.relative == output.absolute / max(np.abs(a).max(), np.abs(b).max())
    assert output.cosine == pytest.approx(cosine.max(), rel=1e-3, abs=1e-12)
    assert found.differing
