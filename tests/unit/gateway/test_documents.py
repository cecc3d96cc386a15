"""Everything of the protocol that is not inference, on both edges."""

from __future__ import annotations

import gzip
from typing import Any

import grpc
import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from services.triton.http import HttpPool
from tests.fakes.gateway import Running, in_loop, serving
from tests.fakes.upstream import standard_table


async def _get(running: Running, path: str, body: bytes | None = None) -> tuple[int, Any]:
    pool = HttpPool("127.0.0.1", running.gateway.http_port)
    try:
        parts = [] if body is None else [body]
        response = await pool.request("GET" if body is None else "POST", path, {}, parts, 10.0)
    finally:
        await pool.aclose()
    return response.status, orjson.loads(response.body) if response.body else None


@in_loop
async def test_a_rest_client_finds_the_server_and_its_models() -> None:
    async with serving() as running:
        status, server = await _get(running, "/v2")
        assert (status, server["name"]) == (200, "penstock")
        assert "binary_tensor_data" in server["extensions"]
        assert await _get(running, "/v2/health/live") == (200, None)
        assert await _get(running, "/v2/health/ready") == (200, None)
        assert (await _get(running, "/"))[1]["models"] == ["digits", "echo", "pair", "repeat"]
        for path in ("/v2/models/digits", "/v2/models/digits/versions/2"):
            status, metadata = await _get(running, path)
            assert (status, metadata["name"], metadata["inputs"][0]["shape"]) == (200, "digits", [-1, 3])
            assert (await _get(running, f"{path}/config"))[1]["max_batch_size"] == 8
            assert (await _get(running, f"{path}/stats"))[1]["model_stats"][0]["name"] == "digits"
            assert await _get(running, f"{path}/ready") == (200, None)
        assert len((await _get(running, "/v2/models/stats"))[1]["model_stats"]) == 4


@in_loop
async def test_the_repository_index_is_triton_s_with_or_without_a_body() -> None:
    async with serving() as running:
        for body in (b"", b"{}", b'{"ready": false}'):
            status, index = await _get(running, "/v2/repository/index", body)
            assert status == 200
            assert index[-1] == {"name": "asleep"}
        ready = (await _get(running, "/v2/repository/index", b'{"ready": true}'))[1]
        assert {entry["state"] for entry in ready} == {"READY"}
        for body in (b"{", b'{"ready": 7}', b"[]"):
            assert (await _get(running, "/v2/repository/index", body))[0] == 400


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v2/models/nobody", None, 404),
        ("/v2/models/nobody/config", None, 404),
        ("/v2/models/nobody/stats", None, 404),
        ("/v2/models/digits/versions/3", None, 404),  # loaded, but not in the table
        ("/v2/models/digits/versions/x", None, 404),
        ("/v2/models/nobody/ready", None, 404),
        ("/nothing", None, 404),
        ("/v2/models/digits/infer", None, 405),
        ("/v2/models/digits/infer/", b"{}", 404),
        ("/v2/models/digits/generate", b"{}", 501),
        ("/v2/models/digits/generate_stream", b"{}", 501),
        ("/v2/models/digits/anything", b"{}", 404),
        ("/v2/repository/models/digits/load", b"{}", 403),
        ("/v2/repository/models/digits/unload", b"{}", 403),
        ("/v2/systemsharedmemory/status", None, 403),
        ("/v2/systemsharedmemory/region/x/register", b"{}", 403),
        ("/v2/cudasharedmemory/region/x/unregister", b"{}", 403),
        ("/v2/trace/setting", b"{}", 403),
        ("/v2/models/digits/trace/setting", None, 403),
        ("/v2/logging", b"{}", 403),
    ],
)
@in_loop
async def test_what_is_not_here_or_not_open_is_said_in_words(path: str, body: bytes | None, status: int) -> None:
    async with serving() as running:
        found, document = await _get(running, path, body)
        assert found == status
        assert list(document) == ["error"]
        assert len(document["error"]) > 20


@in_loop
async def test_only_inference_is_taken_compressed() -> None:
    async with serving() as running:
        pool = HttpPool("127.0.0.1", running.gateway.http_port)
        packed = gzip.compress(b'{"ready": true}')
        response = await pool.request("POST", "/v2/repository/index", {"Content-Encoding": "gzip"}, [packed], 10.0)
        await pool.aclose()
        assert response.status == 415


@in_loop
async def test_openapi_describes_every_path_of_the_protocol() -> None:
    async with serving() as running:
        paths = (await _get(running, "/openapi.json"))[1]["paths"]
        assert "/v2/models/{model}/versions/{version}/infer" in paths
        assert "/v2/repository/index" in paths
        infer = paths["/v2/models/{model}/infer"]["post"]
        assert set(infer["requestBody"]["content"]) == set(infer["responses"]["200"]["content"])
        assert {"400", "404", "408", "411", "413", "415", "429", "503", "504"} <= set(infer["responses"])
        assert "422" not in infer["responses"]
        assert (await _get(running, "/v2/health/ready"))[0] == 200


@in_loop
async def test_the_description_is_a_page_too_that_needs_nothing_from_elsewhere() -> None:
    async with serving() as running:
        pool = HttpPool("127.0.0.1", running.gateway.http_port)
        page = await pool.request("GET", "/docs", {}, [], 10.0)
        text = page.body.decode()
        assert (page.status, "POST /v2/models/{model}/infer<" in text) == (200, True)
        assert "<script" not in text
        assert "<link" not in text
        for gone in ("/redoc", "/docs/oauth2-redirect"):
            assert (await pool.request("GET", gone, {}, [], 10.0)).status == 404
        await pool.aclose()


@in_loop
async def test_ready_means_a_table_and_a_triton() -> None:
    async with serving(table=False) as running, _channel(running) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)

        async def ready() -> bool:
            rest = (await _get(running, "/v2/health/ready"))[0] == 200
            inference = (await stub.ServerReady(service_pb2.ServerReadyRequest())).ready
            checked = await health.Check(health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService"))
            assert rest == inference == (checked.status == health_pb2.HealthCheckResponse.SERVING)
            return rest

        assert not await ready()
        running.routes.replace(standard_table())
        assert await ready()
        running.upstream.is_ready = False
        assert not await ready()
        assert (await _get(running, "/v2/health/live"))[0] == 200
        assert (await _get(running, "/v2/models/digits"))[0] == 503
        assert (await _get(running, "/v2/models/digits/ready"))[0] == 400


@in_loop
async def test_a_grpc_client_finds_the_server_and_its_models() -> None:
    async with serving() as running, _channel(running) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert (await stub.ServerLive(service_pb2.ServerLiveRequest())).live
        assert (await stub.ServerMetadata(service_pb2.ServerMetadataRequest())).name == "penstock"
        for version in ("", "2"):
            fields = {"name": "digits", "version": version}
            assert (await stub.ModelReady(service_pb2.ModelReadyRequest(**fields))).ready
            metadata = await stub.ModelMetadata(service_pb2.ModelMetadataRequest(**fields))
            assert list(metadata.inputs[0].shape) == [-1, 3]
            config = (await stub.ModelConfig(service_pb2.ModelConfigRequest(**fields))).config
            assert config.max_batch_size == 8
            found = await stub.ModelStatistics(service_pb2.ModelStatisticsRequest(**fields))
            assert found.model_stats[0].inference_count == 7
        everything = await stub.ModelStatistics(service_pb2.ModelStatisticsRequest())
        assert len(everything.model_stats) == 4
        index = await stub.RepositoryIndex(service_pb2.RepositoryIndexRequest())
        assert index.models[-1].name == "asleep"
        assert not (await stub.ModelReady(service_pb2.ModelReadyRequest(name="nobody"))).ready


@in_loop
async def test_grpc_refuses_what_is_not_open_with_words() -> None:
    async with serving() as running, _channel(running) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        cases = [
            (stub.RepositoryModelLoad, service_pb2.RepositoryModelLoadRequest(), "PERMISSION_DENIED"),
            (stub.RepositoryModelUnload, service_pb2.RepositoryModelUnloadRequest(), "PERMISSION_DENIED"),
            (stub.SystemSharedMemoryStatus, service_pb2.SystemSharedMemoryStatusRequest(), "PERMISSION_DENIED"),
            (stub.CudaSharedMemoryRegister, service_pb2.CudaSharedMemoryRegisterRequest(), "PERMISSION_DENIED"),
            (stub.TraceSetting, service_pb2.TraceSettingRequest(), "PERMISSION_DENIED"),
            (stub.LogSettings, service_pb2.LogSettingsRequest(), "PERMISSION_DENIED"),
            (stub.ModelMetadata, service_pb2.ModelMetadataRequest(name="nobody"), "NOT_FOUND"),
            (stub.ModelConfig, service_pb2.ModelConfigRequest(name="digits", version="3"), "NOT_FOUND"),
            (stub.ModelReady, service_pb2.ModelReadyRequest(name="digits", version="x"), "NOT_FOUND"),
        ]
        for call, request, code in cases:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(request)
            assert refused.value.code().name == code
            assert len(refused.value.details() or "") > 20
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary("/inference.GRPCInferenceService/Anything")(b"")
        assert refused.value.code().name == "UNIMPLEMENTED"
        assert "Anything" in (refused.value.details() or "")


@in_loop
async def test_health_watch_tells_changes_and_ends_with_the_worker() -> None:
    async with serving() as running, _channel(running) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        states = health.Watch(health_pb2.HealthCheckRequest())
        assert (await states.read()).status == health_pb2.HealthCheckResponse.SERVING
        running.upstream.is_ready = False
        assert (await states.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        states.cancel()
        unknown = health.Watch(health_pb2.HealthCheckRequest(service="nothing"))
        assert (await unknown.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        unknown.cancel()
        with pytest.raises(grpc.aio.AioRpcError):
            await health.Check(health_pb2.HealthCheckRequest(service="nothing"))


@in_loop
async def test_reflection_lists_the_services() -> None:
    async with serving() as running, _channel(running) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        names = {service.name for service in (await call.read()).list_services_response.service}
        assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= names
        call.cancel()


def _channel(running: Running) -> Any:
    return grpc.aio.insecure_channel(f"127.0.0.1:{running.gateway.grpc_port}")
