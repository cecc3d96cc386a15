"""``python -m loadtest.live_rollouts``, briefly: real processes, a real Triton, harm that shows within seconds."""

import json
from pathlib import Path

import pytest

from loadtest.live_rollouts.candidates import DIFFERENT, WORSE
from loadtest.live_rollouts.experiment import run
from loadtest.live_rollouts.tables import summarise

pytestmark = [pytest.mark.integration, pytest.mark.measured]


def test_harm_is_rolled_back_by_its_check_and_an_odd_answer_at_the_tick_that_sees_it(tmp_path: Path) -> None:
    harms = {one.check: one for one in WORSE}
    candidates = [harms["finite"], harms["agreement"], DIFFERENT]
    runs = run(candidates, tmp_path, lambda _: None)
    for candidate, one in zip(candidates, runs, strict=True):
        assert summarise(candidate, [one]).kept, one
    odd, wrong, shadow = runs
    assert odd.looks_late == 0
    assert odd.reaction_s is not None
    assert odd.exposed > 0
    assert wrong.copies > 0
    assert (shadow.exposed, shadow.copies > 0) == (0, True)
    sent = json.loads((tmp_path / "traffic.log").read_text().splitlines()[-1])
    assert sent["generator"]["lateness_p99_ms"] is not None
