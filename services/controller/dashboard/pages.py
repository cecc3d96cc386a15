"""The dashboard's table of contents: every address, and who answers it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.controller.dashboard.archive import Archive
from services.controller.dashboard.audit_pages import AuditPages
from services.controller.dashboard.experiment_pages import ExperimentPages
from services.controller.dashboard.fragments import Fragments
from services.controller.dashboard.guard import error_page, guarded
from services.controller.dashboard.index_pages import IndexPages
from services.controller.dashboard.model_pages import ModelPages
from services.controller.dashboard.outlook import Outlook
from services.controller.dashboard.renderer import Renderer
from services.controller.dashboard.rollout_pages import RolloutPages
from services.controller.events.event_feed import EventFeed
from services.controller.events.watch import Watch
from services.controller.ledger import Ledger
from services.controller.operations import Operations
from services.controller.overview import Overview


class Dashboard:
    """The pages for a person.

    Args:
        operations: Start, steer and read rollouts.
        overview: Models, routes, readiness.
        ledger: The rollouts that are not over.
        watch: The course of each step.
        feed: What happens.
        clock: Wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        *,
        operations: Operations,
        overview: Overview,
        ledger: Ledger,
        watch: Watch,
        feed: EventFeed,
        clock: Callable[[], float],
    ) -> None:
        self._renderer = Renderer()
        archive, fragments = Archive(operations, ledger, watch, clock), Fragments()
        self._audit = AuditPages(
            operations=operations, renderer=self._renderer, fragments=fragments, feed=feed, clock=clock
        )
        self._index = IndexPages(archive, overview, feed, self._renderer, fragments)
        self._models = ModelPages(
            operations=operations,
            archive=archive,
            overview=overview,
            feed=feed,
            renderer=self._renderer,
            fragments=fragments,
        )
        self._experiments = ExperimentPages(
            operations=operations, archive=archive, overview=overview, renderer=self._renderer
        )
        self._rollouts = RolloutPages(
            operations=operations,
            archive=archive,
            overview=overview,
            watch=watch,
            feed=feed,
            renderer=self._renderer,
            fragments=fragments,
            outlook=Outlook(clock),
            clock=clock,
        )

    @property
    def routes(self) -> list[Route]:
        """Every address but ``/``, which it shares with the API."""
        index, models, rollouts, renderer = self._index, self._models, self._rollouts, self._renderer
        audit = self._audit
        experiments = self._experiments
        return [
            guarded("/live", index.live, renderer),
            guarded("/audit", audit.show, renderer),
            guarded("/audit/live", audit.live, renderer),
            guarded("/assets/{name}", index.asset, renderer),
            guarded("/models/{model}", models.show, renderer),
            guarded("/models/{model}", models.start, renderer, "POST"),
            guarded("/models/{model}/live", models.live, renderer),
            guarded("/models/{model}/experiment", experiments.show, renderer),
            guarded("/models/{model}/experiment", experiments.start, renderer, "POST"),
            guarded("/rollouts/{rollout_id}", rollouts.show, renderer),
            guarded("/rollouts/{rollout_id}/live", rollouts.live, renderer),
            guarded("/rollouts/{rollout_id}/{verb}", rollouts.confirm, renderer),
            guarded("/rollouts/{rollout_id}/{verb}", rollouts.steer, renderer, "POST"),
        ]

    async def index(self, request: Request) -> Response:
        """The first page; errors are raised."""
        return await self._index.show(request)

    def error(self, status: int, message: str) -> Response:
        """An error as a page."""
        return error_page(self._renderer, status, message)
