import asyncio

import pytest

from services.controller.gateways.route_board import RouteBoard
from services.controller.storage.store import RouteBook

pytestmark = pytest.mark.anyio


async def test_a_reader_gets_the_table_at_once_and_then_only_newer_ones() -> None:
    board = RouteBoard()
    board.publish(RouteBook(3))
    assert (await board.newer_than(-1)) == RouteBook(3)
    waiting = asyncio.create_task(board.newer_than(3))
    await asyncio.sleep(0)
    board.publish(RouteBook(3))
    await asyncio.sleep(0)
    assert not waiting.done()
    board.publish(RouteBook(4))
    assert (await waiting) == RouteBook(4)


async def test_a_slow_reader_skips_to_the_newest() -> None:
    board = RouteBoard()
    for generation in range(1, 9):
        board.publish(RouteBook(generation))
    assert (await board.newer_than(2)) == RouteBook(8)


async def test_an_older_table_never_replaces_a_newer_one() -> None:
    board = RouteBoard()
    board.publish(RouteBook(5))
    board.publish(RouteBook(4))
    assert board.book == RouteBook(5)


async def test_nothing_is_shown_before_the_first_table() -> None:
    board = RouteBoard()
    waiting = asyncio.create_task(board.newer_than(-1))
    await asyncio.sleep(0)
    assert not waiting.done()
    board.publish(RouteBook(1))
    assert (await waiting) == RouteBook(1)


async def test_every_reader_ends_when_the_board_closes() -> None:
    board = RouteBoard()
    waiting = [asyncio.create_task(board.newer_than(-1)) for _ in range(3)]
    await asyncio.sleep(0)
    board.close()
    assert await asyncio.gather(*waiting) == [None] * 3
    assert await board.newer_than(-1) is None
