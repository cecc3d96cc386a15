"""The pages of one rollout: where it stands, and the verbs with their confirmation."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.controller.dashboard.archive import Archive
from services.controller.dashboard.audit_page import SHOWN
from services.controller.dashboard.form_token import remember, token_of
from services.controller.dashboard.fragments import Fragments
from services.controller.dashboard.guard import own_form
from services.controller.dashboard.outlook import Outlook
from services.controller.dashboard.renderer import HEADERS, Renderer
from services.controller.dashboard.rollout_page import RolloutPage, rollout_page
from services.controller.dashboard.verb_words import verb_of
from services.controller.events.event_feed import EventFeed
from services.controller.events.watch import Watch
from services.controller.operations import Operations
from services.controller.overview import Overview
from services.controller.storage.store import AuditQuery
from services.core.errors import Conflict, NotFound, PenstockError, status_of
from services.core.rollouts.event import VERBS, Event, EventKind
from services.core.rollouts.rollout import Rollout
from services.core.rollouts.transitions import verbs_in

_LONGEST_ACTOR = 200
_LONGEST_REASON = 2000
_SEE_OTHER = 303
_WRONG = 400


class RolloutPages:
    """Answers for ``/rollouts/{id}`` and what is below it.

    Args:
        operations: Applies verbs, reads the audit log and what webhooks were not told.
        archive: Rollouts and their history.
        overview: Which gateways serve with which table.
        watch: The course of the present step.
        feed: What was told last.
        renderer: Templates.
        fragments: What was rendered already.
        outlook: What a step still needs.
        clock: Wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        *,
        operations: Operations,
        archive: Archive,
        overview: Overview,
        watch: Watch,
        feed: EventFeed,
        renderer: Renderer,
        fragments: Fragments,
        outlook: Outlook,
        clock: Callable[[], float],
    ) -> None:
        self._operations = operations
        self._archive = archive
        self._overview = overview
        self._watch = watch
        self._feed = feed
        self._renderer = renderer
        self._fragments = fragments
        self._outlook = outlook
        self._clock = clock

    async def show(self, request: Request) -> Response:
        """The whole page."""
        rollout = await self._archive.rollout(request.path_params["rollout_id"])
        return self._renderer.page("rollout.html.j2", page=await self._page(rollout))

    async def live(self, request: Request) -> Response:
        """The parts of the page that change."""
        rollout = await self._archive.rollout(request.path_params["rollout_id"])
        trend = self._watch.trend(rollout)
        serving = self._overview.serving(rollout.model)
        stamp = (
            *(rollout.generation, self._feed.last),
            *(serving["workers"], serving["acknowledged"]),
            int(self._clock()),
            trend.points[-1].at if trend is not None and trend.points else None,
        )

        async def render() -> str:
            return self._renderer.text("_rollout.html.j2", page=await self._page(rollout))

        return self._renderer.fragment(await self._fragments.html(rollout.id, stamp, render))

    async def confirm(self, request: Request) -> Response:
        """Ask whether a verb is really meant."""
        rollout, verb = await self._asked(request)
        if verb not in verbs_in(rollout.phase):
            raise Conflict(f"{rollout.id} is {rollout.phase.value}: {verb.value} is not possible there any more")
        return self._question(request, rollout, verb)

    async def steer(self, request: Request) -> Response:
        """Apply a verb that was confirmed."""
        values = await own_form(request)
        rollout, verb = await self._asked(request)
        actor, reason = values.get("actor", "").strip(), values.get("reason", "").strip()
        errors = _faults(actor, reason)
        if errors:
            return self._question(request, rollout, verb, values=values, errors=errors, status=_WRONG)
        try:
            await self._operations.steer(rollout.id, Event(verb, actor, reason))
        except PenstockError as error:
            return self._question(
                request, rollout, verb, values=values, errors={"form": error.message}, status=status_of(error).http
            )
        return RedirectResponse(f"/rollouts/{quote(rollout.id, safe='')}", _SEE_OTHER, HEADERS)

    async def _page(self, rollout: Rollout) -> RolloutPage:
        return rollout_page(
            rollout,
            await self._archive.history(rollout),
            await self._operations.audit(AuditQuery(rollout=rollout.id, limit=SHOWN)),
            serving=self._overview.serving(rollout.model),
            trend=self._watch.trend(rollout),
            waits=self._overview.waits(rollout),
            untold=await self._operations.undelivered(rollout),
            outlook=await self._outlook.of(rollout),
            now=self._clock(),
        )

    async def _asked(self, request: Request) -> tuple[Rollout, EventKind]:
        name = request.path_params["verb"]
        verb = next((each for each in VERBS if each.value == name), None)
        if verb is None:
            raise NotFound(f"no verb '{name[:100]}'; there are {', '.join(VERBS)}")
        return await self._archive.rollout(request.path_params["rollout_id"]), verb

    def _question(
        self,
        request: Request,
        rollout: Rollout,
        verb: EventKind,
        *,
        values: dict[str, str] | None = None,
        errors: dict[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        token = token_of(request)
        page = self._renderer.page(
            "confirm.html.j2",
            status,
            rollout=rollout,
            verb=verb_of(rollout, verb),
            values=values or {},
            errors=errors or {},
            token=token,
        )
        remember(page, token)
        return page


def _faults(actor: str, reason: str) -> dict[str, str]:
    faults = {}
    if not 1 <= len(actor) <= _LONGEST_ACTOR:
        faults["actor"] = f"Say who you are, in 1 to {_LONGEST_ACTOR} characters: it goes into the history."
    if not 1 <= len(reason) <= _LONGEST_REASON:
        faults["reason"] = f"Say why, in 1 to {_LONGEST_REASON} characters: it goes into the history."
    return faults
