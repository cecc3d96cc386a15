from hypothesis import given
from hypothesis import strategies as st

from services.core.inventory import Inventory
from services.core.rollouts.actions import LoadVersions

VERSIONS = st.frozensets(st.integers(1, 4))


def inventory(*servers: frozenset[int]) -> Inventory:
    return Inventory({f"server {number}": {"m": versions} for number, versions in enumerate(servers)})


def test_a_version_is_there_when_it_is_ready_on_every_server() -> None:
    seen = Inventory({"a": {"m": frozenset({1, 2}), "n": frozenset({1})}, "b": {"m": frozenset({2, 3})}})
    assert dict(seen) == {"m": {2}}
    assert [seen.everywhere(model) for model in "mnx"] == [{2}, set(), set()]
    assert [seen.somewhere(model) for model in "mnx"] == [{1, 2, 3}, {1}, set()]


def test_no_server_has_nothing() -> None:
    assert dict(Inventory({})) == {}


@given(st.lists(VERSIONS, min_size=1, max_size=4), VERSIONS, VERSIONS)
def test_a_load_holds_exactly_when_no_server_needs_a_change(
    servers: list[frozenset[int]], versions: frozenset[int], tolerated: frozenset[int]
) -> None:
    load = LoadVersions("m", versions, tolerated)
    unchanged = all(versions | (tolerated & present) == present for present in servers)
    assert load.holds(inventory(*servers)) == unchanged
