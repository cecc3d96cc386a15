"""A controller killed at any call to its store or to Triton, before or after it took effect, resumes where it was.

Every story is told once without a kill, which counts the calls, and then once for every call with a kill there.
"""

from dataclasses import dataclass
from itertools import pairwise

import pytest

from services.controller.storage.store import AuditQuery
from services.core.analysis.verdict import Outcome
from services.core.errors import Conflict
from services.core.rollouts.audit import AuditOutcome
from services.core.rollouts.event import Event, EventKind
from services.core.rollouts.experiment import Experiment, OnWin, OutcomeSpec
from services.core.rollouts.feedback import Feedback
from services.core.rollouts.rollout import Phase, Rollout
from services.core.rollouts.rollout_spec import RolloutSpec, Step, Strategy
from services.core.rollouts.transitions import TRANSITIONS
from services.core.route import Role, Route
from tests.fakes.control_plane import ControlPlane, FakeRepository
from tests.fakes.kill_switch import Killed, KillSwitch

pytestmark = pytest.mark.anyio

# A specification for every strategy: another strategy is another line.
SPECS = {
    Strategy.CANARY: RolloutSpec(
        "digits", 2, Strategy.CANARY, steps=(Step(10, 3, 20), Step(50, 3, 20)), max_step_duration_s=60
    ),
    Strategy.BLUE_GREEN: RolloutSpec(
        "digits", 2, Strategy.BLUE_GREEN, (Step(0, 3, 20, 100), Step(100, 3, 20, 50)), max_step_duration_s=60
    ),
    Strategy.SHADOW: RolloutSpec("digits", 2, Strategy.SHADOW, (Step(0, 3, 20, 100),), max_step_duration_s=60),
    Strategy.AB: RolloutSpec(
        "digits",
        2,
        Strategy.AB,
        (Step(50, 3, 20),),
        max_step_duration_s=60,
        experiment=Experiment(OutcomeSpec("clicked"), min_outcomes=20, on_win=OnWin.PROMOTE),
    ),
}
_ROWS = {(row.source, row.event.value, row.target) for row in TRANSITIONS}
_WEIGHTED = (Phase.PROGRESSING, Phase.PAUSED)


@dataclass(frozen=True)
class Story:
    """What happens to a rollout.

    Attributes:
        name: What it is.
        end: How it must end.
        survivor: The version that must have all traffic then.
        error: Share of the candidate's answers that fail.
        loads: Whether the candidate can be loaded.
        silent: Whether the workers answer nothing once the candidate has weight.
        verbs: What a person says, each as soon as the rollout is in a phase.
    """

    name: str
    end: Phase
    survivor: int
    error: float = 0.0
    loads: bool = True
    silent: bool = False
    verbs: tuple[tuple[Phase, EventKind], ...] = ()

    def outcome(self, strategy: Strategy) -> tuple[Phase, int]:
        """Return how it must end, and the version that must have all traffic then."""
        if strategy is Strategy.SHADOW and self.end is Phase.PROMOTED and not self.verbs:
            return Phase.CONCLUDED, 1
        return self.end, self.survivor


STORIES = [
    Story("good candidate", Phase.PROMOTED, 2),
    Story("bad candidate", Phase.ROLLED_BACK, 1, error=1.0),
    Story("no evidence", Phase.ROLLED_BACK, 1, silent=True),
    Story("does not load", Phase.FAILED, 1, loads=False),
    Story("aborted", Phase.ABORTED, 1, verbs=((Phase.PROGRESSING, EventKind.ABORT),)),
    Story(
        "held, and promoted by a person",
        Phase.PROMOTED,
        2,
        verbs=(
            (Phase.PROGRESSING, EventKind.PAUSE),
            (Phase.PAUSED, EventKind.RESUME),
            (Phase.PROGRESSING, EventKind.PROMOTE),
        ),
    ),
]


async def run(switch: KillSwitch, spec: RolloutSpec, story: Story) -> ControlPlane:
    """Serve version 1, roll version 2 out to the end, and check at every tick what must always hold."""
    async with ControlPlane(repository=FakeRepository(digits=[1]), switch=switch) as world:
        for worker in world.workers:
            worker.error[2] = story.error
        if not story.loads:
            world.server.broken = {("digits", 2): "no such operator"}
        await world.tick(14)
        world.repository.published["digits"] = [1, 2]
        await started(world, spec)
        said = 0
        weight = 0
        for _ in range(250):
            await world.tick()
            rollout: Rollout = (await world.store.find("digits"))[0]
            if said < len(story.verbs) and rollout.phase is story.verbs[said][0]:
                await say(world, rollout, story.verbs[said][1], f"verb-{said}")
                said += 1
                rollout = (await world.store.find("digits"))[0]
            if spec.experiment is not None and rollout.phase in _WEIGHTED and not story.silent:
                await fed_back(world, rollout)
            if story.silent and rollout.phase in _WEIGHTED:
                world.per_tick = 0
            route = (await world.store.book()).routes["digits"]
            check_outcomes(world, rollout)
            check_evidence(world, rollout.evidence.stable.requests, Role.STABLE)
            check_evidence(world, rollout.evidence.candidate.requests, Role.CANDIDATE)
            if route.candidate is not None:
                assert route.weight_percent <= spec.steps[rollout.step].weight_percent
                assert world.server.versions["digits"] >= {1, 2}, "no weight without a loaded candidate"
                if route.weight_percent > weight:
                    await check_raise(world, rollout.id, weight, route.weight_percent)
                    weight = route.weight_percent
            if rollout.phase.terminal and world.server.versions == {"digits": {route.stable}}:
                return world
        raise AssertionError(f"not over: {rollout.phase}, {rollout.reason}, loaded {world.server.versions}")


async def fed_back(world: ControlPlane, rollout: Rollout) -> None:
    """Tell of some outcomes: version 2 has good ones alone, version 1 one in five. Without an answer, tell again."""
    moment = int(world.clock())
    told = [Feedback(f"{moment}-{n}", 1 + n % 2, "clicked", float(n % 2 or n == 0)) for n in range(10)]
    for _ in range(2):
        try:
            await world.feedback.take(rollout.model, told)
        except Killed:
            await world.restart()
            await world.tick()
        except Conflict:  # the test was decided meanwhile
            return
        else:
            return


def check_outcomes(world: ControlPlane, rollout: Rollout) -> None:
    """Each outcome that was told counts once: as many of either version, with their shares of good ones."""
    outcomes = rollout.evidence.outcomes
    if outcomes:
        assert outcomes[1].count == outcomes[2].count
        assert (outcomes[1].total, outcomes[2].total) == (outcomes[1].count / 5, outcomes[2].count)


async def started(world: ControlPlane, spec: RolloutSpec) -> None:
    """Start the rollout; a client whose controller died asks again by the same name."""
    for _ in range(2):
        try:
            await world.operations.start(spec, "ada", "start")
        except Killed:
            await world.restart()
            await world.tick()
        else:
            return


async def say(world: ControlPlane, rollout: Rollout, verb: EventKind, request_id: str) -> None:
    """Use a verb, as in ``started``."""
    for _ in range(2):
        try:
            await world.operations.steer(rollout.id, Event(verb, "ada"), request_id)
        except Killed:
            await world.restart()
            await world.tick()
        else:
            return


def check_evidence(world: ControlPlane, counted: int, role: Role) -> None:
    """No answer is counted twice."""
    truth = sum(
        tally.requests for worker in world.workers for (_, _, part), tally in worker.tallies.items() if part is role
    )
    assert counted <= truth


async def check_raise(world: ControlPlane, rollout_id: str, before: int, after: int) -> None:
    """The weight rose only on a transition that is stored, and after the first step only on a stored pass."""
    lines = await world.store.history(rollout_id)
    line = next(line for line in lines if line.target_weight_percent == after)
    if before:
        assert line.judged is not None
        assert line.judged.verdict.outcome is Outcome.PASS
        assert line.judged.replayed() == line.judged.verdict


async def check_past(world: ControlPlane, rollout: Rollout) -> None:
    """History follows the table, tells no change twice, and the audit log agrees with it."""
    lines = await world.store.history(rollout.id)
    for before, after in pairwise(lines):
        assert after.source is before.target
        assert (after.source, after.event, after.target) in _ROWS
    changes = [(line.source, line.target, line.target_weight_percent) for line in lines if line.actor != "ada"]
    assert len(changes) == len(set(changes)), "a change is told twice"
    page = await world.store.audit(AuditQuery(rollout=rollout.id, limit=1000))
    done = [r for r in reversed(page.records) if r.outcome is AuditOutcome.DONE and r.action != "route"]
    assert [record.action for record in done] == [line.event for line in lines]
    for earlier, later in pairwise(done):
        assert later.source == earlier.target
    named = [record.request_id for record in done if record.request_id]
    assert len(named) == len(set(named)), "a request was done twice"


def test_every_strategy_is_among_those_that_are_killed() -> None:
    assert set(SPECS) == set(Strategy)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
@pytest.mark.parametrize("strategy", SPECS)
async def test_a_controller_killed_anywhere_goes_on_to_the_same_end(
    strategy: Strategy, story: Story, after: bool
) -> None:
    switch, spec = KillSwitch(), SPECS[strategy]
    await run(switch, spec, story)
    end, survivor = story.outcome(strategy)
    assert switch.operations > 10
    for at in range(1, switch.operations + 1):
        world = await run(KillSwitch(at, after=after), spec, story)
        assert world.starts == 2, f"killed at call {at}"
        rollouts = await world.store.find("digits")
        assert [each.phase for each in rollouts] == [end], f"killed at call {at}"
        book = await world.store.book()
        assert book.routes["digits"] == Route("digits", survivor, versions=frozenset({survivor}))
        await check_past(world, rollouts[0])


async def test_a_restart_forgets_no_answer_and_counts_none_twice() -> None:
    spec = RolloutSpec("digits", 2, steps=(Step(10, 1000, 20),))
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.tick(14)
        world.repository.published["digits"] = [1, 2]
        rollout = await world.operations.start(spec, "ada")
        await world.tick(10)
        before = (await world.rollout(rollout.id)).evidence.candidate.requests
        await world.restart()
        for worker in world.workers:  # while no controller runs, and the reports of this time are lost
            worker.answer("digits", 1000)
        for _ in range(4):  # nor do the workers find it at once
            world.clock.advance(1.0)
            await world.reconciler.tick()
        await world.tick(3)
        after = (await world.rollout(rollout.id)).evidence.candidate.requests
        assert after - before == len(world.workers) * (100 + 3 * 10)
