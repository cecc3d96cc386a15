"""What ends, hangs or takes over a bare Triton is refused by the gateway, and the Triton behind it notices nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.hostile.__main__ import run
from loadtest.hostile.gate import LARGE_MS, SMALL_MS

pytestmark = [pytest.mark.integration, pytest.mark.measured]

# ``python -m loadtest.hostile`` keeps to the bounds; a test on a busy machine only tells a refusal from work.
_GENEROUS = 20


@pytest.mark.timeout(400)
def test_what_harms_a_bare_triton_is_refused_without_a_trace(tmp_path: Path) -> None:
    outcomes = run(tmp_path)
    for outcome in outcomes:
        print(f"{outcome.case.name}: {outcome.harm.words}; {outcome.refusal.median_ms:.1f} ms; {outcome.refusal.words}")
    assert {outcome.case.name: outcome.faults for outcome in outcomes if outcome.faults} == {}
    assert all(outcome.refusal.median_ms < _GENEROUS * outcome.refusal.bound_ms for outcome in outcomes)
    assert {outcome.refusal.bound_ms for outcome in outcomes} == {SMALL_MS, LARGE_MS}
