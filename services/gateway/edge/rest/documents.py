"""The REST protocol apart from inference, as a FastAPI application: typed, with OpenAPI at ``/docs``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from services.core.errors import InvalidRequest, PenstockError, Unimplemented, status_of
from services.gateway.catalog import SERVER_NAME, Catalog, Document, version_number
from services.gateway.edge.rest.models import (
    ErrorBody,
    IndexEntry,
    IndexRequest,
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    Pointer,
    ServerMetadata,
)
from services.gateway.edge.rest.response import error_body, retry_after
from services.gateway.edge.words import words_of
from services.gateway.routes import Routes

_NOT_READY = 400  # Triton's, and what the protocol says: 200 for true, 4xx for false
_INFER = "/v2/models/{model}/infer"
_INFER_VERSION = "/v2/models/{model}/versions/{version}/infer"


def documents(catalog: Catalog, routes: Routes) -> FastAPI:
    """Return the application.

    Args:
        catalog: Where the documents come from.
        routes: The present route table, for the pointer at the root.
    """
    app = FastAPI(
        title="Penstock gateway",
        summary="Open Inference Protocol v2, with Triton's binary tensor and classification extensions.",
        version=catalog.server()["version"],
        redirect_slashes=False,
        responses={"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}},
    )
    app.include_router(_root(catalog, routes))
    app.include_router(_server(catalog))
    app.include_router(_models(catalog))
    app.add_exception_handler(PenstockError, _penstock_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(404, _no_such_path)
    app.add_exception_handler(405, _no_such_method)
    return app


def _root(catalog: Catalog, routes: Routes) -> APIRouter:
    router = APIRouter()

    @router.get("/", response_model=Pointer, summary="Where to look")
    async def root(request: Request) -> Pointer:
        base = str(request.base_url).rstrip("/")
        table = routes.table
        models = sorted(table.routes) if table else []
        calls = [f"curl {base}/v2/health/ready", *(f"curl {base}/v2/models/{model}" for model in models[:3])]
        return Pointer(
            name=SERVER_NAME, version=catalog.server()["version"], docs=f"{base}/docs", models=models, try_=calls
        )

    return router


def _server(catalog: Catalog) -> APIRouter:
    router = APIRouter(tags=["server"])

    @router.get("/v2", response_model=ServerMetadata, summary="Who answers")
    async def server() -> Document:
        return catalog.server()

    @router.get("/v2/health/live", response_class=Response, summary="Is the process alive?")
    async def live() -> Response:
        return Response()

    @router.get("/v2/health/ready", response_class=Response, summary="Should requests be sent here?")
    async def ready() -> Response:
        return _state(await catalog.not_ready())

    @router.post(
        "/v2/repository/index",
        response_model=list[IndexEntry],
        response_model_exclude_unset=True,
        summary="Models in Triton's repository",
        openapi_extra={"requestBody": {"content": {"application/json": {"schema": IndexRequest.model_json_schema()}}}},
    )
    async def index(request: Request) -> list[Document]:
        return await catalog.index(ready_only=_index_request(await request.body()).ready)

    @router.get("/v2/models/stats", summary="Triton's statistics of every model")
    async def statistics() -> Document:
        return await catalog.statistics(None, None)

    return router


def _models(catalog: Catalog) -> APIRouter:
    router = APIRouter(tags=["models"])

    @router.get("/v2/models/{model}", response_model=ModelMetadata, response_model_exclude_unset=True)
    @router.get(
        "/v2/models/{model}/versions/{version}", response_model=ModelMetadata, response_model_exclude_unset=True
    )
    async def metadata(model: str, version: str = "") -> Document:
        return await catalog.metadata(model, version_number(version))

    @router.get("/v2/models/{model}/ready", response_class=Response)
    @router.get("/v2/models/{model}/versions/{version}/ready", response_class=Response)
    async def ready(model: str, version: str = "") -> Response:
        return _state(await catalog.model_not_ready(model, version_number(version)))

    @router.get("/v2/models/{model}/config")
    @router.get("/v2/models/{model}/versions/{version}/config")
    async def configuration(model: str, version: str = "") -> Document:
        return await catalog.configuration(model, version_number(version))

    @router.get("/v2/models/{model}/stats")
    @router.get("/v2/models/{model}/versions/{version}/stats")
    async def statistics(model: str, version: str = "") -> Document:
        return await catalog.statistics(model, version_number(version))

    # These are answered by the hot path (infer.py) before they come here; here they are only described.
    @router.post(_INFER, response_model=InferenceResponse)
    @router.post(_INFER_VERSION, response_model=InferenceResponse)
    async def infer(model: str, body: InferenceRequest, version: str = "") -> None:
        raise Unimplemented(f"inference on {model} {version} {body.id} is served by the hot path in front of this")

    return router


def _index_request(body: bytes) -> IndexRequest:
    """Parse whatever the content type says: Triton does, and its clients send none."""
    try:
        return IndexRequest.model_validate_json(body) if body.strip() else IndexRequest()
    except ValidationError as error:
        faults = "; ".join(fault["msg"] for fault in error.errors())
        raise InvalidRequest(f'the repository index takes {{"ready": true or false}}: {faults}') from error


def _state(reason: str | None) -> Response:
    return Response() if reason is None else JSONResponse({"error": reason}, _NOT_READY)


async def _penstock_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, PenstockError):
        raise error
    name, _, value = retry_after(error).decode().strip().partition(": ")
    headers = {name: value} if name else None
    return Response(error_body(words_of(error)), status_of(error).http, headers, "application/json")


async def _validation_error(request: Request, error: Exception) -> Response:
    faults: list[Any] = list(error.errors()) if isinstance(error, RequestValidationError) else []
    words = "; ".join(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in faults)
    return await _penstock_error(request, InvalidRequest(words or str(error)))


async def _http_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


async def _no_such_path(request: Request, _error: Exception) -> Response:
    words = f"there is no {request.method} {request.url.path} here; GET /docs lists what there is"
    return JSONResponse({"error": words}, 404)


async def _no_such_method(request: Request, error: Exception) -> Response:
    headers = error.headers if isinstance(error, HTTPException) else None
    words = f"{request.url.path} does not take {request.method}; GET /docs lists what there is"
    return JSONResponse({"error": words}, 405, headers)
