"""The controller's REST API under ``/v1``, with OpenAPI at ``/docs``."""

from __future__ import annotations

import logging
import uuid
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from services.controller.api.body_limit import BodyLimit
from services.controller.api.forwarding import Forwarding, ToLeader
from services.controller.api.rest_models import FeedbackModels, RolloutModel, StartModel, VerbModel
from services.controller.api.same_origin import SameOrigin
from services.controller.api.views import feedback_view, forecast_view, history_view, plan_view, rollout_view
from services.controller.dashboard.negotiation import prefers_html
from services.controller.dashboard.pages import Dashboard
from services.controller.feedback import FeedbackIntake
from services.controller.insight import Insight
from services.controller.metrics import ControllerMetrics
from services.controller.operations import Operations
from services.controller.overview import Overview
from services.controller.storage.audit_documents import record_document
from services.controller.storage.store import AuditQuery
from services.core.errors import PenstockError, status_of
from services.core.rollouts.event import VERBS, Event, EventKind
from services.process.api_page import add_api_page

_LOG = logging.getLogger(__name__)
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_UNAVAILABLE = 503
_MAX_BODY_BYTES = 1024 * 1024


def rest_app(
    operations: Operations,
    overview: Overview,
    insight: Insight,
    metrics: ControllerMetrics,
    *,
    dashboard: Dashboard | None = None,
    to_leader: ToLeader | None = None,
    feedback: FeedbackIntake | None = None,
) -> FastAPI:
    """Return the application.

    Args:
        operations: Start, steer and read rollouts.
        overview: Models, routes, readiness.
        insight: Explanations and plans.
        metrics: What Prometheus reads.
        dashboard: Pages for browsers; without them the API alone.
        feedback: Takes in what became of answers; None where nobody does.
        to_leader: Passes writes on to the controller that leads; None where there is only this one.
    """
    app = FastAPI(title="Penstock controller", version="v1", docs_url=None, redoc_url=None)
    add_api_page(app)
    if to_leader is not None:
        app.add_middleware(Forwarding, to_leader=to_leader)
    app.add_middleware(BodyLimit, max_bytes=_MAX_BODY_BYTES)
    app.add_middleware(SameOrigin)
    _add_errors(app, dashboard)
    _add_index(app, dashboard)
    _add_world(app, overview, metrics)
    _add_rollouts(app, operations)
    _add_insight(app, insight)
    _add_verbs(app, operations)
    _add_audit(app, operations)
    if feedback is not None:
        _add_feedback(app, feedback)
    return app


def _add_index(app: FastAPI, dashboard: Dashboard | None) -> None:
    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        if dashboard is not None and prefers_html(request.headers):
            return await dashboard.index(request)
        data = ("/v1/models", "/v1/routes", "/v1/rollouts", "/v1/events", "/v1/audit", "/v1/leader")
        paths = (*data, "/healthz", "/readyz", "/metrics", "/docs")
        return JSONResponse({"service": "penstock controller", "paths": paths}, headers={"vary": "accept"})

    if dashboard is not None:
        app.router.routes.extend(dashboard.routes)


def _add_world(app: FastAPI, overview: Overview, metrics: ControllerMetrics) -> None:
    @app.get("/v1/models", tags=["models"])
    async def models() -> dict[str, Any]:
        """All models: published, loaded and routed versions, and what is wrong."""
        return {"models": overview.models()}

    @app.get("/v1/models/{model}", tags=["models"])
    async def model(model: str) -> dict[str, Any]:
        """One model."""
        return overview.model(model)

    @app.get("/v1/routes", tags=["models"])
    async def routes() -> dict[str, Any]:
        """The route table, and the gateway workers that do not serve with it yet."""
        return overview.routes()

    @app.get("/v1/leader", tags=["process"])
    async def leader() -> dict[str, Any]:
        """Which controller decides, and whether it is this one."""
        return overview.leader()

    @app.get("/healthz", tags=["process"])
    async def healthz() -> dict[str, Any]:
        """Whether the process lives."""
        return {"alive": True}

    @app.get("/readyz", tags=["process"])
    async def readyz(response: Response) -> dict[str, Any]:
        """Whether decisions can be made; 503 with the reason where not."""
        readiness = overview.readiness()
        if not readiness["ready"]:
            response.status_code = _UNAVAILABLE
        return readiness

    @app.get("/metrics", tags=["process"])
    async def prometheus() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(metrics.text(), media_type=_PROMETHEUS)


def _add_rollouts(app: FastAPI, operations: Operations) -> None:
    @app.post("/v1/rollouts", status_code=201, tags=["rollouts"])
    async def start(body: StartModel) -> dict[str, Any]:
        """Start a rollout."""
        return rollout_view(await operations.start(body.spec(), body.actor, body.request_id))

    @app.get("/v1/rollouts", tags=["rollouts"])
    async def find(
        model: str | None = None, active: bool = False, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> dict[str, Any]:
        """Rollouts, the latest first."""
        found = await operations.find(model, active=active, limit=limit)
        return {"rollouts": [rollout_view(rollout) for rollout in found]}

    @app.get("/v1/rollouts/{rollout_id}", tags=["rollouts"])
    async def get(rollout_id: str) -> dict[str, Any]:
        """One rollout."""
        return rollout_view(await operations.get(rollout_id))

    @app.get("/v1/rollouts/{rollout_id}/history", tags=["rollouts"])
    async def history(rollout_id: str) -> dict[str, Any]:
        """Why each step was taken, oldest line first."""
        return {"id": rollout_id, "history": [history_view(entry) for entry in await operations.history(rollout_id)]}


def _add_insight(app: FastAPI, insight: Insight) -> None:
    @app.get("/v1/rollouts/{rollout_id}/explanation", tags=["rollouts"])
    async def explain(rollout_id: str) -> dict[str, Any]:
        """A rollout in plain words, and when its present step will have a verdict if the traffic goes on as it is."""
        lines, coming = await insight.explain(rollout_id)
        return {"id": rollout_id, "lines": lines, "forecast": forecast_view(coming)}

    @app.post("/v1/plans", tags=["rollouts"])
    async def plan(body: RolloutModel) -> dict[str, Any]:
        """How long each step of a rollout will take at the traffic of the last minute; nothing is started."""
        return plan_view(body.model, await insight.plan(body.spec()))


def _add_feedback(app: FastAPI, intake: FeedbackIntake) -> None:
    @app.post("/v1/models/{model}/feedback", tags=["models"])
    async def feedback(model: str, body: FeedbackModels) -> dict[str, Any]:
        """What became of answers, for the model's A/B test; each outcome of a request counts once."""
        told = [one for each in (body if isinstance(body, list) else [body]) for one in each.feedback()]
        taken = await intake.take(model, told)
        return {"results": [feedback_view(one, how) for one, how in zip(told, taken, strict=True)]}


def _add_audit(app: FastAPI, operations: Operations) -> None:
    @app.get("/v1/audit", tags=["rollouts"])
    async def audit(
        model: str | None = None,
        rollout: str | None = None,
        actor: str | None = None,
        before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> dict[str, Any]:
        """Who did what, also what was refused, the latest first; older ones with ``before`` = ``more``."""
        page = await operations.audit(AuditQuery(model, rollout, actor, before, limit))
        return {"audit": [record_document(record) for record in page.records], "more": page.more}


def _add_verbs(app: FastAPI, operations: Operations) -> None:
    def add(verb: EventKind) -> None:
        async def steer(rollout_id: str, body: VerbModel | None = None) -> dict[str, Any]:
            said = body or VerbModel()
            event = Event(verb, said.actor, said.reason)
            return rollout_view(await operations.steer(rollout_id, event, said.request_id))

        app.post(
            f"/v1/rollouts/{{rollout_id}}/{verb.value}",
            name=verb.value,
            summary=f"{verb.value.capitalize()} a rollout.",
            tags=["rollouts"],
        )(steer)

    for verb in VERBS:
        add(verb)


def _add_errors(app: FastAPI, dashboard: Dashboard | None) -> None:
    @app.exception_handler(PenstockError)
    async def known(_request: Request, error: PenstockError) -> JSONResponse:
        return JSONResponse({"error": error.message}, status_of(error).http)

    @app.exception_handler(RequestValidationError)
    async def malformed(_request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        return JSONResponse({"error": "; ".join(faults)}, 400)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if dashboard is not None and not request.url.path.startswith("/v1") and prefers_html(request.headers):
            return dashboard.error(error.status_code, f"{request.url.path}: {error.detail}")
        words = f"{request.method} {request.url.path}: {error.detail}; /docs lists what there is"
        return JSONResponse({"error": words}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def unknown(_request: Request, error: Exception) -> JSONResponse:
        incident = uuid.uuid4().hex[:12]
        _LOG.error("incident %s", incident, exc_info=error)
        return JSONResponse({"error": f"internal error; the controller's log has the rest under {incident}"}, 500)
