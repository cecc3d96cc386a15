"""The REST protocol apart from inference, as a FastAPI application: typed, with OpenAPI at ``/docs``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from services.core.errors import InvalidRequest, PenstockError, Unimplemented, status_of
from services.gateway.catalog import SERVER_NAME, Catalog, Document, version_number
from services.gateway.control.feedback_desk import FeedbackDesk
from services.gateway.edge.rest.feedback import feedback_router
from services.gateway.edge.rest.models import (
    IndexEntry,
    IndexRequest,
    InferenceRequest,
    ModelMetadata,
    Pointer,
    ServerMetadata,
)
from services.gateway.edge.rest.openapi import (
    BODY_ERRORS,
    INDEX_EXTRA,
    INFER_EXTRA,
    INFER_RESPONSES,
    NOT_READY,
    TRITON_ERRORS,
    Model,
    Version,
    errors,
)
from services.gateway.edge.rest.response import error_body, retry_after
from services.gateway.edge.words import words_of
from services.gateway.routes import Routes
from services.process.api_page import add_api_page

_NOT_READY = 400  # Triton's, and what the protocol says: 200 for true, 4xx for false


# By the server's version, in which alone the applications of a process may differ.
_DESCRIBED: dict[str, dict[str, Any]] = {}


class _Documents(FastAPI):
    """FastAPI without its own refusal of what does not fit, which the gateway gives another form (400)."""

    def openapi(self) -> dict[str, Any]:
        """Return the description, which nobody changes."""
        known = _DESCRIBED.get(self.version)
        if known is None:
            known = _DESCRIBED[self.version] = super().openapi()
            for path in known["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                known["components"]["schemas"].pop(name, None)
        return known


def documents(catalog: Catalog, routes: Routes, feedback: FeedbackDesk | None = None) -> FastAPI:
    """Return the application.

    Args:
        catalog: Where the documents come from.
        routes: The present route table, for the pointer at the root.
        feedback: Takes what clients tell of outcomes; None where nobody does.
    """
    app = _Documents(
        title="Penstock gateway",
        summary="Open Inference Protocol v2, with Triton's binary tensor and classification extensions.",
        version=catalog.server()["version"],
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    add_api_page(app)
    app.include_router(_root(catalog, routes))
    app.include_router(_server(catalog))
    app.include_router(_models(catalog, routes, "/v2/models/{model}"))
    app.include_router(_models(catalog, routes, "/v2/models/{model}/versions/{version}"))
    if feedback is not None:
        app.include_router(feedback_router(feedback))
    app.add_exception_handler(PenstockError, _penstock_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(404, _no_such_path)
    app.add_exception_handler(405, _no_such_method)
    # Its first client would hold up all others for 30 ms.
    app.openapi()
    return app


def _root(catalog: Catalog, routes: Routes) -> APIRouter:
    router = APIRouter()

    @router.get("/", response_model=Pointer, responses=errors(), summary="Where to look")
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

    @router.get("/v2", response_model=ServerMetadata, responses=errors(), summary="Who answers")
    async def server() -> Document:
        return catalog.server()

    @router.get("/v2/health/live", response_class=Response, responses=errors(), summary="Is the process alive?")
    async def live() -> Response:
        return Response()

    @router.get(
        "/v2/health/ready", response_class=Response, responses=NOT_READY, summary="Should requests be sent here?"
    )
    async def ready() -> Response:
        return _state(await catalog.not_ready())

    @router.post(
        "/v2/repository/index",
        response_model=list[IndexEntry],
        response_model_exclude_unset=True,
        responses=errors(415, *BODY_ERRORS, *TRITON_ERRORS),
        openapi_extra=INDEX_EXTRA,
        summary="Models in Triton's repository",
    )
    async def index(request: Request) -> list[Document]:
        return await catalog.index(ready_only=_index_request(await request.body()).ready)

    @router.get("/v2/models/stats", responses=errors(*TRITON_ERRORS), summary="Triton's statistics of every model")
    async def statistics() -> Document:
        return await catalog.statistics(None, None)

    return router


def _models(catalog: Catalog, routes: Routes, prefix: str) -> APIRouter:
    """Return the documents of models at ``prefix``, whose version is a part of the path or the stable one."""
    router = APIRouter(prefix=prefix, tags=["models"])
    number: Any = Depends(_version if "{version}" in prefix else _no_version)
    found = errors(404, *TRITON_ERRORS)

    @router.get(
        "", response_model=ModelMetadata, response_model_exclude_unset=True, responses=found, summary="Interface"
    )
    async def metadata(model: Model, version: int | None = number) -> Document:
        return await catalog.metadata(model, version)

    @router.get("/ready", response_class=Response, responses=NOT_READY | errors(404), summary="Can it answer now?")
    async def ready(model: Model, version: int | None = number) -> Response:
        if routes.table is not None:
            routes.route(model, version)
        return _state(await catalog.model_not_ready(model, version))

    @router.get("/config", responses=found, summary="Triton's configuration")
    async def configuration(model: Model, version: int | None = number) -> Document:
        return await catalog.configuration(model, version)

    @router.get("/stats", responses=found, summary="Triton's statistics")
    async def statistics(model: Model, version: int | None = number) -> Document:
        return await catalog.statistics(model, version)

    # Answered on the connection itself, before it would come here; here it is only described.
    @router.post("/infer", responses=INFER_RESPONSES, openapi_extra=INFER_EXTRA, summary="Inference")
    async def infer(model: Model, body: InferenceRequest, version: int | None = number) -> Document:
        raise Unimplemented(f"inference on {model} {version} {body.id} is not served by the documents")

    return router


def _version(version: Version) -> int | None:
    return version_number(version)


def _no_version() -> None:
    return None


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
