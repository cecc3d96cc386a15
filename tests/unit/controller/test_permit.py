"""Triton knows no epochs: whether a controller may still load is asked right before the load is sent."""

import time

import pytest

from loadtest.controller_kills.model_server import ModelServer
from services.controller.election.leadership import Leader, Mandate, NotLeading
from services.triton.model_control import GrpcModelControl

pytestmark = pytest.mark.anyio
CONFIG = '{"version_policy": {"specific": {"versions": [1, 2]}}}'


async def test_a_controller_that_leads_no_longer_changes_nothing_in_triton() -> None:
    mandate = Mandate(Leader("me", "here:9000", "here:9001"), time.monotonic, epoch=1)
    with ModelServer() as server:
        host, _, ports = server.address.partition(":")
        control = GrpcModelControl(f"{host}:{ports.partition('/')[2]}", permit=mandate.require)
        try:
            await control.load("digits", CONFIG)
            assert server.loaded("digits") == {1, 2}
            mandate.extend(time.monotonic() - 1.0)
            for change in (control.load("digits", CONFIG.replace("1, 2", "1")), control.unload("digits")):
                with pytest.raises(NotLeading):
                    await change
            assert server.loaded("digits") == {1, 2}
        finally:
            await control.aclose()
