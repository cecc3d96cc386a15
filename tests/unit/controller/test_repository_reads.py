"""A file system that hangs is waited for so long, and takes no more than a few threads of its own."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from services.controller.storage.store import AuditQuery
from services.controller.versions.repository_reads import RepositoryReads
from services.core.errors import NotFound, Unavailable
from services.core.rollouts.audit import AuditOutcome
from services.core.rollouts.rollout_spec import RolloutSpec
from tests.fakes.control_plane import ControlPlane, FakeRepository

pytestmark = pytest.mark.anyio


@pytest.fixture
def answers() -> Iterator[threading.Event]:
    """Until it is set, the file system hangs."""
    event = threading.Event()
    yield event
    event.set()


def threads() -> int:
    return sum(thread.name == "repository" for thread in threading.enumerate())


async def test_a_read_returns_what_it_found_or_raises_what_is_wrong() -> None:
    def missing() -> int:
        raise NotFound("no model 'digits'")

    def denied() -> int:
        raise PermissionError(13, "Permission denied", "/models")

    reads = RepositoryReads()
    assert await reads.read(lambda: 7) == 7
    with pytest.raises(NotFound, match="no model"):
        await reads.read(missing)
    with pytest.raises(Unavailable, match=r"the model repository cannot be read: .*Permission denied: '/models'"):
        await reads.read(denied)


async def test_a_file_system_that_hangs_takes_a_few_threads_and_none_of_the_pools(answers: threading.Event) -> None:
    before, reads = threads(), RepositoryReads(timeout_s=0.02, most=3)
    for _ in range(40):
        with pytest.raises(Unavailable, match=r"does not answer within 0\.02 s"):
            await reads.read(answers.wait)
        assert threads() - before <= 3
    assert await asyncio.wait_for(asyncio.to_thread(lambda: 7), 10.0) == 7
    answers.set()
    patient = RepositoryReads(timeout_s=10.0, most=3)
    assert await patient.read(lambda: 7) == 7


async def test_reads_go_on_when_the_file_system_does(answers: threading.Event) -> None:
    reads = RepositoryReads(timeout_s=10.0, most=1)
    given_up = asyncio.create_task(reads.read(answers.wait))
    await asyncio.sleep(0)
    given_up.cancel()
    waiting = asyncio.create_task(reads.read(lambda: 7))
    await asyncio.wait({waiting}, timeout=0.05)
    assert not waiting.done(), "the one before still hangs"
    answers.set()
    assert await waiting == 7


class HangingVersions(FakeRepository):
    def __init__(self, answers: threading.Event) -> None:
        super().__init__(digits=[1, 2])
        self._answers = answers

    def versions(self, model: str) -> list[int]:
        self._answers.wait(20)
        return super().versions(model)


async def test_a_start_that_the_repository_does_not_answer_is_refused_with_words(answers: threading.Event) -> None:
    answers.set()
    async with ControlPlane(repository=HangingVersions(answers)) as world:
        world.reads = RepositoryReads(timeout_s=0.05)
        await world.restart()
        await world.serve()
        answers.clear()
        spec = RolloutSpec("digits", 1)
        with pytest.raises(Unavailable, match=r"the model repository does not answer within 0\.05 s"):
            await world.operations.start(spec, "ada")
        answers.set()
        [refused] = (await world.store.audit(AuditQuery(actor="ada"))).records
        assert (refused.outcome, "does not answer" in refused.reason) == (AuditOutcome.REFUSED, True)
        assert (await world.operations.start(spec, "ada")).stable == 2, "newcomers begin with the latest"
