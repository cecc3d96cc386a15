import threading
from pathlib import Path

import pytest

from services.controller.versions.repository_watch import RepositoryWatch
from services.core.errors import ConfigurationError
from services.triton.layout import RepositoryLayout
from tests.fakes.control_plane import FakeRepository

pytestmark = pytest.mark.anyio


class UnreadableRepository(FakeRepository):
    def models(self) -> list[str]:
        raise ConfigurationError("the model repository cannot be read")


class HangingRepository(FakeRepository):
    def __init__(self, **published: list[int]) -> None:
        super().__init__(**published)
        self.go = threading.Event()
        self.looks = 0

    def models(self) -> list[str]:
        self.looks += 1
        self.go.wait(20)
        return super().models()


class ShrinkingRepository(FakeRepository):
    def models(self) -> list[str]:
        return [*super().models(), "removed"]


async def test_what_is_published_is_seen() -> None:
    watch = RepositoryWatch(FakeRepository(digits=[1, 2]), 5)
    await watch.look()
    assert (watch.versions, watch.problem) == ({"digits": (1, 2)}, None)


async def test_a_model_that_is_removed_while_looking_has_no_versions() -> None:
    watch = RepositoryWatch(ShrinkingRepository(digits=[1]), 5)
    await watch.look()
    assert watch.versions == {"digits": (1,), "removed": ()}


async def test_a_model_that_is_not_in_order_hides_no_other(tmp_path: Path) -> None:
    repository, elsewhere = tmp_path / "repository", tmp_path / "elsewhere"
    for model in (repository / "digits", elsewhere):
        (model / "1").mkdir(parents=True)
        (model / "config.pbtxt").touch()
    (repository / "linked").symlink_to(elsewhere)
    watch = RepositoryWatch(RepositoryLayout(repository), 5)
    await watch.look()
    assert watch.versions == {"digits": (1,), "linked": ()}
    assert "linked is a link that leads out of the model repository" in (watch.problem or "")


async def test_an_unreadable_repository_is_a_problem_and_forgets_nothing() -> None:
    watch = RepositoryWatch(UnreadableRepository(), 5)
    watch.versions = {"digits": (1,)}
    await watch.look()
    assert watch.versions == {"digits": (1,)}
    assert watch.problem == "the model repository cannot be read"


async def test_a_repository_that_hangs_is_looked_at_once_and_waited_for_a_bounded_time() -> None:
    repository = HangingRepository(digits=[1])
    watch = RepositoryWatch(repository, 0.01)
    for _ in range(3):
        await watch.look()
    assert "not read within" in (watch.problem or "")
    assert repository.looks == 1
    repository.go.set()
    while watch.problem:
        await watch.look()
    assert watch.versions == {"digits": (1,)}
    await watch.close()
