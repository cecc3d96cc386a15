"""Data become requests whose answers can be checked; data that do not fit the model are refused before any load."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from tritonclient.grpc import service_pb2

from loadtest.dataset import Dataset, find_dataset, load_dataset
from loadtest.payload import (
    UNREADABLE,
    WRONG_VERSION,
    Interface,
    fitted,
    grpc_payloads,
    read_grpc,
    read_rest,
    rest_payloads,
)
from loadtest.record import Answer, Failure
from services.core.errors import ConfigurationError
from services.core.inference import TensorSpec

LABELS = np.array([2, 0, 1])
ROWS = np.eye(3, dtype=np.float32)[LABELS]
SCORES = TensorSpec("scores", "FP32", (-1, 3))
INTERFACE = Interface("m", None, (TensorSpec("x", "FP32", (-1, 3)),), SCORES)
DATA = Dataset({"x": ROWS}, LABELS.astype(np.int64), Path("d.npz"))


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return path


def test_the_data_beside_the_newest_version_that_has_some_are_found(tmp_path: Path) -> None:
    for folder in ("2", "9", "10", "11"):
        (tmp_path / "m" / folder).mkdir(parents=True)
        if folder != "11":
            (tmp_path / "m" / folder / "evaluation.npz").touch()
    assert find_dataset(tmp_path, "m", None) == tmp_path / "m" / "10" / "evaluation.npz"
    assert find_dataset(tmp_path, "m", 2) == tmp_path / "m" / "2" / "evaluation.npz"
    for model, version in (("m", 11), ("n", None)):
        with pytest.raises(ConfigurationError, match="--data"):
            find_dataset(tmp_path, model, version)


def test_the_last_batch_is_filled_up_from_the_beginning() -> None:
    batches = DATA.batches(2)
    assert [list(labels) for _, labels in batches] == [[2, 0], [1, 2]]
    assert [len(labels) for _, labels in DATA.batches(5)] == [5]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": ROWS}, "labels"),
        ({"labels": LABELS}, "an array for each input"),
        ({"x": ROWS, "labels": LABELS[:2]}, "2 labels"),
        ({"x": ROWS, "labels": LABELS.astype(float)}, "class index"),
        ({"x": ROWS[:0], "labels": LABELS[:0]}, "class index"),
        ({"x": np.array([{}, {}, {}], dtype=object), "labels": LABELS}, "cannot be read"),
    ],
)
def test_a_file_whose_arrays_do_not_belong_together_is_refused(
    tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_dataset(saved(tmp_path, **arrays))


@pytest.mark.parametrize("content", [None, b"", b"no zip"])
def test_a_missing_or_broken_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "data.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"data\.npz: cannot be read"):
        load_dataset(path)


def test_the_only_array_goes_to_the_only_input_in_the_models_datatype() -> None:
    data = fitted(Dataset({"image": ROWS.astype(np.float64)}, DATA.labels, DATA.path), INTERFACE)
    assert data.inputs["x"].dtype == np.float32


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": ROWS[:, :2]},
        {"x": ROWS[:, :, None]},
        {"x": ROWS.astype("U8")},
        {"x": ROWS, "y": ROWS},
    ],
)
def test_data_that_the_model_cannot_take_are_refused(inputs: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="m takes"):
        fitted(Dataset(inputs, DATA.labels, DATA.path), INTERFACE)


def test_an_output_without_numbers_is_refused() -> None:
    words = Interface("m", None, INTERFACE.inputs, TensorSpec("scores", "BYTES", (-1, 3)))
    with pytest.raises(ConfigurationError, match=r"target\.output"):
        fitted(DATA, words)


def test_a_rest_body_is_json_that_describes_the_bytes_after_it() -> None:
    payload = rest_payloads(INTERFACE, DATA, 2)[0]
    head = orjson.loads(payload.body[: payload.json_size])
    assert head["inputs"][0] == {
        "name": "x",
        "shape": [2, 3],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 24},
    }
    assert payload.body[payload.json_size :] == ROWS[:2].tobytes()


def test_a_grpc_body_is_a_request_with_raw_contents_and_the_version_asked_for() -> None:
    pinned = Interface("m", 7, INTERFACE.inputs, SCORES)
    request = service_pb2.ModelInferRequest.FromString(grpc_payloads(pinned, DATA, 3)[0].body)
    assert (request.model_name, request.model_version, list(request.inputs[0].shape)) == ("m", "7", [3, 3])
    assert request.raw_input_contents[0] == ROWS.tobytes()


def rest_answer(scores: Any, version: str = "1") -> tuple[dict[str, str], bytes]:
    data = np.asarray(scores, np.float32).tobytes()
    other = b"\0" * 4
    outputs = [
        {"name": "other", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}},
        {"name": "scores", "datatype": "FP32", "shape": [3, 3], "parameters": {"binary_data_size": len(data)}},
    ]
    head = orjson.dumps({"model_version": version, "outputs": outputs})
    headers = {"inference-header-content-length": str(len(head)), "penstock-role": "stable"}
    return headers, head + other + data


def grpc_answer(scores: Any, version: str = "1") -> Any:
    response = service_pb2.ModelInferResponse(model_version=version)
    for name, values in (("other", [0.0]), ("scores", scores)):
        response.outputs.add(name=name, datatype="FP32")
        response.raw_output_contents.append(np.asarray(values, np.float32).tobytes())
    return response


def read(protocol: str, scores: Any, version: str = "1", interface: Interface = INTERFACE) -> Answer | Failure:
    if protocol == "rest":
        return read_rest(interface, *rest_answer(scores, version), DATA.labels)
    return read_grpc(interface, grpc_answer(scores, version), "stable", DATA.labels)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_right_and_wrong_rows_are_told_apart(protocol: str) -> None:
    assert read(protocol, ROWS, "4") == Answer("4", "stable", 3, 3)
    assert read(protocol, ROWS[[0, 0, 2]], "4") == Answer("4", "stable", 3, 2)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_row_that_is_not_finite_is_wrong_even_where_it_would_win(protocol: str, value: float) -> None:
    scores = np.where(ROWS == 1, np.float32(value), ROWS)
    outcome = read(protocol, scores)
    assert isinstance(outcome, Answer)
    assert outcome.right == 0


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_an_answer_by_another_version_than_the_one_asked_for_is_a_failure(protocol: str) -> None:
    pinned = Interface("m", 7, INTERFACE.inputs, SCORES)
    outcome = read(protocol, ROWS, "6", pinned)
    assert isinstance(outcome, Failure)
    assert outcome.kind == WRONG_VERSION
    assert isinstance(read(protocol, ROWS, "7", pinned), Answer)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
@pytest.mark.parametrize("scores", [[], [1.0, 2.0]])
def test_an_answer_of_the_wrong_size_is_a_failure(protocol: str, scores: list[float]) -> None:
    outcome = read(protocol, scores)
    assert isinstance(outcome, Failure)
    assert outcome.kind == UNREADABLE


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"outputs":[{"name":"scores"}]}', b'{"outputs":[{"name":"a","datatype":"FP32"}]}'],
)
def test_an_unreadable_rest_answer_is_a_failure_not_a_crash(body: bytes) -> None:
    outcome = read_rest(INTERFACE, {}, body, DATA.labels)
    assert isinstance(outcome, Failure)
    assert outcome.kind == UNREADABLE


def test_a_json_answer_is_read_too() -> None:
    output = {"name": "scores", "datatype": "FP32", "shape": [3, 3], "data": ROWS.ravel().tolist()}
    body = orjson.dumps({"model_version": "3", "outputs": [output]})
    assert read_rest(INTERFACE, {}, body, DATA.labels) == Answer("3", "", 3, 3)
