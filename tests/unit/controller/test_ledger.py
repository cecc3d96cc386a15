"""What is known of the stored state, and when it is no basis for a decision."""

from collections.abc import Awaitable, Callable

import pytest

from services.controller.election.leadership import Leader, Mandate
from services.controller.gateways.route_board import RouteBoard
from services.controller.ledger import Ledger
from services.core.errors import Unavailable
from services.core.rollouts.history import beginning
from services.core.rollouts.outcomes import Totals
from services.core.rollouts.rollout import new_rollout
from services.core.rollouts.rollout_spec import RolloutSpec
from tests.fakes.audit_records import record_of
from tests.fakes.clock import FakeClock
from tests.fakes.store import FakeStore

pytestmark = pytest.mark.anyio


class InterruptedStore(FakeStore):
    """Something happens while it is read, once."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def outcome_totals(self) -> dict[str, dict[int, Totals]]:
        if self.meanwhile is not None:
            happens, self.meanwhile = self.meanwhile, None
            await happens()
        return await super().outcome_totals()


def reading(store: FakeStore) -> Ledger:
    clock = FakeClock()
    mandate = Mandate(Leader("me", "here:9000", "here:9001"), clock, epoch=0)
    return Ledger(store, RouteBoard(), mandate, clock)


async def test_what_is_doubted_while_it_is_read_is_read_again() -> None:
    store = InterruptedStore()
    ledger = reading(store)
    rollout = new_rollout(RolloutSpec("digits", 2), 1, 10.0)

    async def lead() -> None:
        await store.create(rollout, beginning(rollout, "ada"), record_of())  # by the leader before
        ledger.doubt()

    store.meanwhile = lead
    assert await ledger.refresh()
    assert ledger.active.keys() == {"digits"}
    assert not await ledger.refresh(), "nobody has doubted it since"


async def test_what_could_not_be_read_to_the_end_is_read_again() -> None:
    store = InterruptedStore()
    ledger = reading(store)

    async def end() -> None:
        store.away = True

    store.meanwhile = end
    with pytest.raises(Unavailable):
        await ledger.refresh()
    assert ledger.problem == "the fake database is away"
    store.away = False
    assert await ledger.refresh()
    assert ledger.problem is None
