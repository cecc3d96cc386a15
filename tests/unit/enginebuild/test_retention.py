"""Old versions go; the newest and those in service never do."""

from collections.abc import Collection
from pathlib import Path

import pytest
from enginebuild.lock import exclusive
from enginebuild.publish import versions
from enginebuild.retention import dispensable, prune
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import Unavailable
from tests.fakes.releases import publish_many

SETS = st.frozensets(st.integers(1, 30))


@given(SETS, SETS, st.integers(1, 10))
def test_what_goes_is_neither_among_the_newest_nor_in_service(
    published: frozenset[int], in_service: frozenset[int], keep: int
) -> None:
    gone = dispensable(published, in_service, keep)
    assert gone == sorted(gone)
    assert set(gone) <= published - in_service
    left = published - set(gone)
    assert len(left - in_service) <= keep
    assert set(sorted(published)[-keep:]) <= left


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    publish_many(tmp_path, 5, lambda _: None)
    return tmp_path


def test_versions_in_service_stay_however_old_they_are(repository: Path) -> None:
    said: list[str] = []
    assert prune(repository, "sums", 2, lambda: {2}, said.append) == [1, 3]
    assert versions(repository / "sums") == [2, 4, 5]
    assert said == ["removed sums version 1", "removed sums version 3"]
    assert prune(repository, "sums", 2, lambda: {2}, said.append) == []


def test_nothing_goes_while_nobody_can_say_what_is_in_service(repository: Path) -> None:
    def silent() -> Collection[int]:
        raise Unavailable("no controller answers")

    with pytest.raises(Unavailable):
        prune(repository, "sums", 1, silent, lambda _: None)
    assert versions(repository / "sums") == [1, 2, 3, 4, 5]


def test_what_is_in_service_is_asked_while_no_build_can_publish(repository: Path) -> None:
    def asked() -> Collection[int]:
        with pytest.raises(Exception, match="has held this lock"), exclusive(repository / "sums" / ".lock", 0.05):
            pass
        return ()

    assert prune(repository, "sums", 4, asked, lambda _: None) == [1]


def test_what_a_killed_removal_left_is_cleaned_up(repository: Path) -> None:
    (repository / "sums" / "1").rename(repository / "sums" / ".removed-1-abc")
    prune(repository, "sums", 9, lambda: (), lambda _: None)
    assert not list((repository / "sums").glob(".removed-*"))
    assert versions(repository / "sums") == [2, 3, 4, 5]


def test_a_number_that_was_removed_is_not_given_again(repository: Path) -> None:
    for version in (5, 4):
        (repository / "sums" / str(version)).rename(repository / f"elsewhere-{version}")
    publish_many(repository, 1, lambda _: None)
    assert versions(repository / "sums") == [1, 2, 3, 6]
