"""``/v1/events`` and ``/v1/rollouts/{id}/events``."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import FastAPI, Header, Response

from services.controller.events.event_feed import EventFeed
from services.controller.events.event_stream import EventStream
from services.controller.events.watch import Watch
from services.controller.operations import Operations

# What tells a browser not to come back.
_NO_CONTENT = 204


def add_events(app: FastAPI, operations: Operations, feed: EventFeed, watch: Watch) -> None:
    """Add the event streams.

    Args:
        app: The application.
        operations: Reads rollouts.
        feed: What happens.
        watch: What there is now.
    """

    @app.get("/v1/events", status_code=200, tags=["events"], response_class=EventStream)
    async def everything(last_event_id: Annotated[str, Header(max_length=200)] = "") -> Response:
        """Server-sent events of all models and rollouts: first what is, then each change.

        With ``Last-Event-ID`` what was missed comes first instead, where it is still known.
        """
        resumed = feed.resume("", last_event_id) if last_event_id else None
        if resumed is not None:
            return EventStream(resumed, feed.epoch)
        return EventStream(feed.subscribe(), feed.epoch, watch.everything())

    @app.get("/v1/rollouts/{rollout_id}/events", status_code=200, tags=["events"], response_class=EventStream)
    async def one(rollout_id: str, last_event_id: Annotated[str, Header(max_length=200)] = "") -> Response:
        """Server-sent events of one rollout: first its present state, then each change until it is over.

        With ``Last-Event-ID`` what was missed comes first instead. 204 where there is nothing to wait for.
        """
        resumed = feed.resume(rollout_id, last_event_id) if last_event_id else None
        subscription = resumed or feed.subscribe(rollout_id)
        number = feed.last
        try:
            # Read after the subscription began: what happens meanwhile comes behind it.
            rollout = await operations.get(rollout_id)
        except BaseException:
            feed.remove(subscription)
            raise
        if resumed is None:
            if rollout.phase.terminal:  # nothing comes after this state
                feed.remove(subscription)
            return EventStream(subscription, feed.epoch, [replace(watch.present(rollout), number=number)])
        if resumed.caught_up and feed.has_ended(rollout_id):
            feed.remove(resumed)
            return Response(status_code=_NO_CONTENT)
        return EventStream(resumed, feed.epoch)
