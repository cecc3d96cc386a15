"""A short form of ``python -m loadtest.controller_kills``: real controllers, killed and frozen, on both databases."""

from pathlib import Path

import pytest

from loadtest.controller_kills.__main__ import run

pytestmark = [pytest.mark.integration, pytest.mark.measured]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_no_promise_is_broken_by_controllers_that_are_killed(engine: str, tmp_path: Path) -> None:
    said: list[str] = []
    finding = run(engine, 12, tmp_path, 7, said.append)
    assert finding.broken == [], said
    assert finding.killed >= 12
    assert sum(finding.rollouts.values()) >= 3
    assert finding.outcomes >= 150, "an A/B test is among the first three"
    assert finding.longest_s < 30.0
    assert finding.away_s < 30.0
