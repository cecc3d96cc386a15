"""Requests whose clients went away before there was an answer, as evidence about versions."""

from __future__ import annotations

from pathlib import Path

from services.core.analysis.assessment import Terms, assess
from services.core.analysis.verdict import Outcome
from services.core.rollouts.evidence import Seen
from services.core.rollouts.rollout_spec import AnalysisConfig
from services.core.route import Role
from services.gateway.metrics.recorder import Recorder
from services.gateway.metrics.slab import SlabReader, SlabWriter, create_slab_file
from services.gateway.metrics.tallies import tallies
from services.gateway.outcomes import CANCELLED, WITHDRAWN

TERMS = Terms(AnalysisConfig(), 10, 200, 3, final=False)
PATIENCE_S = 5.0


class Requests:
    """Counts requests of a stable version 1 and a candidate 2."""

    def __init__(self, folder: Path) -> None:
        create_slab_file(folder / "slab", 2 << 20)
        self._recorder = Recorder(SlabWriter(folder / "slab"))
        self._path = folder / "slab"

    def ended(self, role: Role, outcome: str, duration_s: float, count: int) -> None:
        version = 1 if role is Role.STABLE else 2
        for _ in range(count):
            self._recorder.requests("rest", "m", version, role).finish(outcome, duration_s)

    @property
    def seen(self) -> Seen:
        found = tallies(SlabReader(self._path).records())
        return Seen(found["m", 1, Role.STABLE], found["m", 2, Role.CANDIDATE])


def test_a_candidate_that_hangs_fails_although_its_clients_do_not_wait_for_it(tmp_path: Path) -> None:
    requests = Requests(tmp_path)
    requests.ended(Role.STABLE, "ok", 0.01, 9000)
    requests.ended(Role.CANDIDATE, "ok", 0.01, 900)
    assert assess(TERMS, requests.seen).outcome is Outcome.PASS
    requests.ended(Role.CANDIDATE, WITHDRAWN, PATIENCE_S, 100)
    assert assess(TERMS, requests.seen).outcome is Outcome.PASS, "these never reached it"
    requests.ended(Role.CANDIDATE, CANCELLED, PATIENCE_S, 100)
    verdict = assess(TERMS, requests.seen)
    assert [each.name for each in verdict.checks if each.outcome is Outcome.FAIL] == ["p99"]


def test_where_clients_get_no_answer_at_all_nothing_passes(tmp_path: Path) -> None:
    requests = Requests(tmp_path)
    for role in (Role.STABLE, Role.CANDIDATE):
        requests.ended(role, CANCELLED, PATIENCE_S, 1000)
    assert assess(TERMS, requests.seen).outcome is Outcome.INCONCLUSIVE
