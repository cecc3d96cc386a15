"""Which rollouts can be done at all: what a start is refused for, and a plan too, before anything is stored."""

from __future__ import annotations

from functools import partial

from services.controller.ledger import Ledger
from services.controller.measuring import Measuring
from services.controller.versions.published import Published
from services.controller.versions.repository_reads import RepositoryReads
from services.controller.webhooks.caller import WebhookCaller
from services.core.errors import InvalidRequest, NotFound
from services.core.rollouts.rollout_spec import RolloutSpec
from services.core.route import Route


class Eligibility:
    """Looks at a rollout's versions, metrics and webhooks.

    Args:
        ledger: The present routes.
        measuring: Whether there is a source of custom metrics.
        caller: Knows which hosts webhooks may name.
        published: The model repository.
        reads: Reads of it that somebody waits for.
    """

    def __init__(
        self,
        ledger: Ledger,
        measuring: Measuring,
        caller: WebhookCaller,
        *,
        published: Published,
        reads: RepositoryReads,
    ) -> None:
        self._ledger, self._measuring, self._caller = ledger, measuring, caller
        self._published, self._reads = published, reads

    async def published(self, model: str) -> list[int]:
        """Return what is published now, not at the last tick: a rollout may follow a build at once.

        Raises:
            Unavailable: The repository does not answer.
        """
        return await self._reads.read(partial(self._versions, model))

    def stable_for(self, spec: RolloutSpec, published: list[int]) -> int:
        """Return the stable version that a candidate would replace.

        Args:
            spec: What is asked for.
            published: The versions of its model.

        Raises:
            NotFound: The model is not served, or a version is not published.
            InvalidRequest: A version is the stable one, there is no source for the metrics, or a webhook's host is not
                allowed.
        """
        self._expect_sources(spec)
        stable = self._route(spec.model).stable
        for version in spec.challengers:
            if version == stable:
                raise InvalidRequest(
                    f"version {version} of '{spec.model}' is the stable one already; name another version"
                )
            if version not in published:
                found = ", ".join(map(str, published)) or "none"
                raise NotFound(f"model '{spec.model}' has no published version {version}; published: {found}")
        return stable

    def _expect_sources(self, spec: RolloutSpec) -> None:
        if spec.metrics and not self._measuring.possible:
            raise InvalidRequest(
                f"metric '{spec.metrics[0].name}' is asked for and nobody said where metrics are; set "
                "controller.prometheus_url (PENSTOCK_CONTROLLER_PROMETHEUS_URL) to a Prometheus"
            )
        for webhook in spec.webhooks:
            if problem := self._caller.problem(webhook):
                raise InvalidRequest(f"webhook '{webhook.name}': {problem}")

    def _route(self, model: str) -> Route:
        route = self._ledger.routes.get(model)
        if route is None:
            served = ", ".join(sorted(self._ledger.routes)) or "none"
            raise NotFound(f"model '{model}' is not served; served models: {served}")
        return route

    def _versions(self, model: str) -> list[int]:
        try:
            return self._published.versions(model)
        except NotFound:
            return []
