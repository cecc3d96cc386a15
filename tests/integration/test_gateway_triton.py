"""The official clients, pointed at the gateway instead of Triton, notice no difference."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from services.core.route import Route, RouteTable
from tests.fakes.controller import controlling
from tests.fakes.gateway import eventually, in_loop
from tests.fakes.gateway_process import GatewayProcess, gateway_process
from tests.fakes.running_triton import RunningTriton

pytestmark = pytest.mark.integration

MODELS = ("every_datatype", "lookup", "classes", "unbatched", "reshaped", "scale")
Arrays = dict[str, np.ndarray[Any, Any]]


def table(candidate: int | None = None, weight_percent: int = 0) -> RouteTable:
    """Return the routes of the fixture's models, all stable at version 1."""
    routes = {model: Route(model, 1, versions=frozenset({1})) for model in MODELS}
    routes["scale"] = Route("scale", 1, candidate, weight_percent, frozenset({1, 2}))
    return RouteTable(1 + weight_percent, routes)


@asynccontextmanager
async def gateway_before(triton: RunningTriton, state_dir: Path, routes: RouteTable) -> AsyncIterator[GatewayProcess]:
    """Run a gateway with one worker in front of Triton."""
    async with controlling() as controller:
        await controller.publish(routes)
        async with gateway_process(state_dir, triton.http_port, controller.port, workers=1) as gateway:
            await gateway.announced()
            await eventually(lambda: controller.watchers)
            await eventually((state_dir / "routes.json").exists)
            yield gateway


def _every_datatype() -> Arrays:
    arrays: Arrays = {"in_BOOL": np.array([[True, False, True]])}
    arrays["in_STRING"] = np.array([[b"", 'grüße "\\\n'.encode(), b"x" * 300]], dtype=np.object_)
    for kind in ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"):
        limits = np.iinfo(kind)
        arrays[f"in_{kind.upper()}"] = np.array([[limits.min, limits.max, 1]], kind)
    for kind, name in (("float16", "FP16"), ("float32", "FP32"), ("float64", "FP64")):
        finite = np.finfo(kind)
        arrays[f"in_{name}"] = np.array([[finite.min, finite.tiny, 0.1, -0.0]], kind)
    return arrays


CASES: list[tuple[str, Arrays]] = [
    ("every_datatype", _every_datatype()),
    ("lookup", {"index": np.array([[3]], np.int64)}),
    ("classes", {"features": np.array([[0.1, 5, 2], [7, 1, 0]], np.float32)}),
    ("unbatched", {"X": np.arange(12, dtype=np.float32).reshape(3, 4) / 7}),
    ("unbatched", {"X": np.zeros((0, 4), np.float32)}),
    ("unbatched", {"X": np.array([[np.nan, np.inf], [-np.inf, 1e-40]], np.float32)}),
    ("unbatched", {"X": np.random.default_rng(3).normal(size=(512, 1024)).astype(np.float32)}),
    ("reshaped", {"X": np.array([[4], [5]], np.int32)}),
    ("scale", {"X": np.array([[1, 2, 3, 0.1]], np.float32)}),
]


def _datatype(array: np.ndarray[Any, Any]) -> str:
    names = {"bool": "BOOL", "object": "BYTES", "float16": "FP16", "float32": "FP32", "float64": "FP64"}
    return names.get(str(array.dtype.name), str(array.dtype.name).upper())


def _over_http(port: int, model: str, arrays: Arrays, *, binary: bool, classes: int = 0) -> dict[str, Any]:
    """Return the answer's document and every output's elements."""
    inputs = []
    for name, array in arrays.items():
        tensor = triton_http.InferInput(name, list(array.shape), _datatype(array))
        # FP16 has no JSON form.
        tensor.set_data_from_numpy(array, binary_data=binary or array.dtype == np.float16)
        inputs.append(tensor)
    outputs = None
    if not binary or classes:
        names = _output_names(port, model)
        outputs = [
            triton_http.InferRequestedOutput(name, binary_data=binary or name == "out_FP16", class_count=classes)
            for name in names
        ]
    with triton_http.InferenceServerClient(f"127.0.0.1:{port}", network_timeout=30.0) as client:
        result = client.infer(model, inputs, outputs=outputs, request_id="7", model_version="1")
        document = result.get_response()
        names = [output["name"] for output in document["outputs"]]
        return {"document": document, "arrays": {name: result.as_numpy(name).tolist() for name in names}}


def _output_names(port: int, model: str) -> list[str]:
    with triton_http.InferenceServerClient(f"127.0.0.1:{port}") as client:
        return [output["name"] for output in client.get_model_metadata(model)["outputs"]]


def _over_grpc(port: int, model: str, arrays: Arrays, *, classes: int = 0) -> Any:
    """Return the answer's message."""
    inputs = []
    for name, array in arrays.items():
        tensor = triton_grpc.InferInput(name, list(array.shape), _datatype(array))
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        outputs = None
        if classes:
            names = [output.name for output in client.get_model_metadata(model).outputs]
            outputs = [triton_grpc.InferRequestedOutput(name, class_count=classes) for name in names]
        return client.infer(model, inputs, outputs=outputs, request_id="7", model_version="1").get_response()


async def _equal(through: Callable[[], Any], direct: Callable[[], Any], what: str) -> None:
    """Compare two answers; ``repr`` tells NaN, minus zero and every digit apart."""
    assert repr(await asyncio.to_thread(through)) == repr(await asyncio.to_thread(direct)), what


@in_loop
async def test_official_clients_get_the_same_bytes_as_from_triton(triton: RunningTriton, tmp_path: Path) -> None:
    async with gateway_before(triton, tmp_path, table()) as gateway:
        rest, grpc_port = gateway.ports["REST"], gateway.ports["gRPC"]
        for model, arrays in CASES:
            for binary in (True, False):
                await _equal(
                    lambda m=model, a=arrays, b=binary: _over_http(rest, m, a, binary=b),  # type: ignore[misc]
                    lambda m=model, a=arrays, b=binary: _over_http(triton.http_port, m, a, binary=b),  # type: ignore[misc]
                    f"{model} over HTTP, binary {binary}",
                )
            await _equal(
                lambda m=model, a=arrays: _over_grpc(grpc_port, m, a),  # type: ignore[misc]
                lambda m=model, a=arrays: _over_grpc(triton.grpc_port, m, a),  # type: ignore[misc]
                f"{model} over gRPC",
            )


@in_loop
async def test_classification_is_the_same_as_triton_s(triton: RunningTriton, tmp_path: Path) -> None:
    model, arrays = CASES[2]
    async with gateway_before(triton, tmp_path, table()) as gateway:
        for binary in (True, False):
            await _equal(
                lambda b=binary: _over_http(gateway.ports["REST"], model, arrays, binary=b, classes=2),  # type: ignore[misc]
                lambda b=binary: _over_http(triton.http_port, model, arrays, binary=b, classes=2),  # type: ignore[misc]
                "classification over HTTP",
            )
        await _equal(
            lambda: _over_grpc(gateway.ports["gRPC"], model, arrays, classes=2),
            lambda: _over_grpc(triton.grpc_port, model, arrays, classes=2),
            "classification over gRPC",
        )
        counted = [await gateway.metric("penstock_predictions_total", **{"class": str(index)}) for index in range(3)]
        assert counted == [3, 3, 0]


@in_loop
async def test_metadata_and_configuration_are_triton_s(triton: RunningTriton, tmp_path: Path) -> None:
    def over_http(port: int, model: str) -> list[Any]:
        with triton_http.InferenceServerClient(f"127.0.0.1:{port}") as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready(model)
            index = sorted(map(repr, client.get_model_repository_index()))
            stats = client.get_inference_statistics(model)["model_stats"]
            named = [(entry["name"], entry["version"]) for entry in stats]
            return [client.get_model_metadata(model), client.get_model_config(model, "1"), index, named]

    def over_grpc(port: int, model: str) -> list[Any]:
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready(model)
            index = sorted(map(repr, client.get_model_repository_index().models))
            stats = client.get_inference_statistics(model).model_stats
            named = [(entry.name, entry.version) for entry in stats]
            return [client.get_model_metadata(model), client.get_model_config(model, "1"), index, named]

    async with gateway_before(triton, tmp_path, table()) as gateway:
        for model in MODELS:
            if model == "scale":  # its plain metadata is the newest version's at Triton, the stable one's at the gate
                continue
            await _equal(
                lambda m=model: over_http(gateway.ports["REST"], m),  # type: ignore[misc]
                lambda m=model: over_http(triton.http_port, m),  # type: ignore[misc]
                model,
            )
            await _equal(
                lambda m=model: over_grpc(gateway.ports["gRPC"], m),  # type: ignore[misc]
                lambda m=model: over_grpc(triton.grpc_port, m),  # type: ignore[misc]
                model,
            )


@in_loop
async def test_the_candidate_answers_its_share_over_both_protocols(triton: RunningTriton, tmp_path: Path) -> None:
    array = np.array([[1, 2, 3, 4]], np.float32)

    def over_http(port: int) -> list[str]:
        tensor = triton_http.InferInput("X", [1, 4], "FP32").set_data_from_numpy(array)
        with triton_http.InferenceServerClient(f"127.0.0.1:{port}") as client:
            return [client.infer("scale", [tensor]).get_response()["model_version"] for _ in range(400)]

    def over_grpc(port: int) -> list[str]:
        tensor = triton_grpc.InferInput("X", [1, 4], "FP32").set_data_from_numpy(array)
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
            return [client.infer("scale", [tensor]).get_response().model_version for _ in range(400)]

    async with gateway_before(triton, tmp_path, table(candidate=2, weight_percent=25)) as gateway:
        for versions in (
            await asyncio.to_thread(over_http, gateway.ports["REST"]),
            await asyncio.to_thread(over_grpc, gateway.ports["gRPC"]),
        ):
            # Binomial(400, 0.25): five standard deviations, so that chance fails this once in a million runs.
            assert 100 - 44 <= versions.count("2") <= 100 + 44
            assert set(versions) == {"1", "2"}


@in_loop
async def test_bad_requests_of_official_clients_are_refused_by_the_gateway(
    triton: RunningTriton, tmp_path: Path
) -> None:
    wrong: Arrays = {
        "batch": np.zeros((9, 4), np.float32),
        "shape": np.zeros((1, 5), np.float32),
        "datatype": np.zeros((1, 4), np.float64),
    }

    def ask(port: int, array: np.ndarray[Any, Any]) -> None:
        _over_http(port, "scale", {"X": array}, binary=True)

    def ask_grpc(port: int, array: np.ndarray[Any, Any]) -> None:
        _over_grpc(port, "scale", {"X": array})

    async with gateway_before(triton, tmp_path, table()) as gateway:
        for array in wrong.values():
            with pytest.raises(InferenceServerException, match=r"'X'.*scale") as refused:
                await asyncio.to_thread(ask, gateway.ports["REST"], array)
            assert refused.value.status() == "400"
            with pytest.raises(InferenceServerException, match=r"'X'.*scale") as refused:
                await asyncio.to_thread(ask_grpc, gateway.ports["gRPC"], array)
            assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"
