from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.core.replica_address import DnsName, ReplicaAddress
from services.triton.layout import RepositoryLayout
from services.triton.triton_members import TritonMembers
from tests.fakes import aio

pytestmark = pytest.mark.anyio
ADDRESSES = (ReplicaAddress("127.0.0.1", 18000, 18001), ReplicaAddress("127.0.0.1", 18010, 18011))


async def test_the_same_replica_is_the_same_server(tmp_path: Path) -> None:
    members = TritonMembers(ADDRESSES, RepositoryLayout(tmp_path))
    once, again = members.now(), members.now()
    assert list(once) == ["127.0.0.1:18000", "127.0.0.1:18010"]
    assert all(once[name] is again[name] for name in once)
    await members.aclose()
    assert not set(once.values()) & set(members.now().values())
    await members.aclose()


async def test_the_addresses_of_a_name_are_followed(tmp_path: Path) -> None:
    found = ["127.0.0.1"]

    async def look_up(name: str) -> list[str]:
        assert name == "tritons"
        return list(found)

    members = TritonMembers(DnsName("tritons", 8000, 8001), RepositoryLayout(tmp_path), look_up)
    assert dict(members.now()) == {}
    following = asyncio.create_task(members.run())
    await aio.until(members.now)
    assert list(members.now()) == ["127.0.0.1:8000"]
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)

    first = members.now()["127.0.0.1:8000"]
    found[:] = ["127.0.0.2", "::1"]
    following = asyncio.create_task(members.run())
    await aio.until(lambda: len(members.now()) == 2)
    assert list(members.now()) == ["127.0.0.2:8000", "[::1]:8000"]
    assert first not in members.now().values()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await members.aclose()
