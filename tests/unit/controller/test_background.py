"""Background work: one piece for each key, ended with its owner, and no defect in it goes unheard."""

import asyncio

import pytest

from services.controller.background import Background

pytestmark = pytest.mark.anyio


async def test_a_key_has_work_until_it_ends_and_its_owner_is_told() -> None:
    ended: list[str] = []
    async with Background[str](ended.append) as background:
        background.begin("a", asyncio.sleep(0), "work a")
        assert "a" in background
        assert "b" not in background
        await background.idle()
        assert "a" not in background
    assert ended == ["a"]


async def test_what_is_not_wanted_is_cancelled_alone_and_all_at_the_end() -> None:
    ended: list[str] = []
    async with Background[str](ended.append) as background:
        for key in ("a", "b"):
            background.begin(key, asyncio.Event().wait(), f"work {key}")  # type: ignore[arg-type]  # it never returns
        background.keep(lambda key: key == "b")
        await asyncio.sleep(0.01)
        assert ended == ["a"]
    assert ended == ["a", "b"]


async def test_a_defect_is_logged_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    async def defective() -> None:
        raise RuntimeError("no such thing")

    async with Background[str]() as background:
        background.begin("a", defective(), "work a")
        await background.idle()
    assert "work a ended with a defect" in caplog.text
    assert "no such thing" in caplog.text
