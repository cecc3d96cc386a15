"""What Prometheus reads off the controller, made from its state at every scrape."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.controller.election.leadership import Mandate
from services.controller.gateways.fleet import Fleet
from services.controller.ledger import Ledger
from services.controller.reconciler import Reconciler
from services.controller.webhooks.announcer import Announcer
from services.controller.webhooks.caller import WebhookCaller
from services.core.rollouts.rollout import Phase


class ControllerMetrics(Collector):
    """Gauges and counters of the control plane.

    Args:
        ledger: Routes, rollouts and decisions.
        fleet: Live workers.
        reconciler: Ticks, and whether Triton answers.
        mandate: Whether this process leads.
        caller: Calls webhooks.
        announcer: Tells webhooks what happened.
    """

    def __init__(
        self,
        ledger: Ledger,
        fleet: Fleet,
        reconciler: Reconciler,
        mandate: Mandate,
        caller: WebhookCaller,
        *,
        announcer: Announcer,
    ) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._reconciler = reconciler
        self._mandate = mandate
        self._caller = caller
        self._announcer = announcer
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Yield all metrics as they are now."""
        yield from self._routes()
        yield from self._rollouts()
        yield from self._world()

    def _routes(self) -> Iterable[Metric]:
        weight = GaugeMetricFamily(
            "penstock_route_weight_percent",
            "Share of a model's traffic that a version shall have, by the route table.",
            labels=["model", "version", "role"],
        )
        for model, route in sorted(self._ledger.routes.items()):
            weight.add_metric([model, str(route.stable), "stable"], 100 - route.weight_percent)
            if route.candidate is not None:
                weight.add_metric([model, str(route.candidate), "candidate"], route.weight_percent)
        yield weight

    def _rollouts(self) -> Iterable[Metric]:
        phase = GaugeMetricFamily(
            "penstock_rollout_phase",
            "1 for the phase that a rollout under way is in, 0 for the others.",
            labels=["model", "rollout", "phase"],
        )
        for model, rollout in sorted(self._ledger.active.items()):
            for each in Phase:
                if not each.terminal:
                    phase.add_metric([model, rollout.id, each.value], float(each is rollout.phase))
        yield phase
        decisions = CounterMetricFamily(
            "penstock_rollout_decisions",
            "Changes of a rollout's phase or step since the controller's start, by what caused them.",
            labels=["model", "event"],
        )
        for (model, event), count in sorted(self._ledger.decisions.items()):
            decisions.add_metric([model, event], count)
        yield decisions
        calls = CounterMetricFamily(
            "penstock_rollout_webhook_calls",
            "Calls of webhooks since the controller's start: a good answer, a bad one, or none.",
            labels=["type", "answer"],
        )
        for labels, count in sorted(self._caller.calls.items()):
            calls.add_metric(list(labels), count)
        yield calls
        yield GaugeMetricFamily(
            "penstock_rollout_notices_waiting",
            "Changes that webhooks are still to be told of; 0 where this controller does not lead.",
            value=self._announcer.waiting,
        )
        yield CounterMetricFamily(
            "penstock_rollout_notices_given_up",
            "Changes that webhooks were not told of in the end, since the controller's start.",
            value=self._announcer.given_up,
        )

    def _world(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "penstock_controller_gateway_workers", "Gateway workers that report.", value=len(self._fleet.live())
        )
        yield GaugeMetricFamily(
            "penstock_controller_store_up",
            "1 while the database answers.",
            value=float(self._ledger.problem is None),
        )
        yield GaugeMetricFamily(
            "penstock_controller_triton_up",
            "1 while a Triton answers.",
            value=float(self._reconciler.server_problem is None),
        )
        yield GaugeMetricFamily(
            "penstock_controller_leading", "1 while this controller decides.", value=float(self._mandate.held)
        )
        loaded = self._reconciler.loaded
        replicas = GaugeMetricFamily(
            "penstock_controller_triton_replica_up", "1 while a Triton says what it has loaded.", labels=["replica"]
        )
        if loaded is not None:
            for replica in sorted(loaded.servers.keys() | loaded.away.keys()):
                replicas.add_metric([replica], float(replica not in loaded.away))
        yield replicas
        ticks = self._reconciler.ticks
        yield CounterMetricFamily(
            "penstock_controller_ticks",
            "Looks at the world since the controller's start.",
            value=ticks,
        )
