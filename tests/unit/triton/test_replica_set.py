"""``ReplicaSet`` against replicas that are killed, frozen, slow, lying or all sick, over real sockets."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace

import orjson
import pytest

from services.core.errors import (
    Unavailable,
    UpstreamFailure,
)
from services.core.inference import InferResponse
from services.core.replica_address import DnsName
from services.triton.replicas.replica_set import ReplicaSet
from tests.fakes import aio, fake_triton
from tests.fakes.fake_triton import fake_tritons
from tests.fakes.serving_replicas import QUICK, failures, request, serving


def test_requests_are_shared_out_and_answers_say_who_gave_them() -> None:
    async def scenario() -> None:
        async with serving(3, watched=False) as set_:
            answers = await set_.ask_many(300)
            assert not failures(answers)
            by = Counter(answer.replica for answer in answers if isinstance(answer, InferResponse))
            assert set(by) == {triton.name for triton in set_.tritons}
            assert all(answer.attempts == 1 for answer in answers if isinstance(answer, InferResponse))

    aio.run(scenario())


def test_the_remaining_time_and_the_trace_reach_triton() -> None:
    async def scenario() -> None:
        async with serving(1, watched=False) as set_:
            triton = set_.tritons[0]
            await set_.ask(timeout_s=2.0)
            mine = replace(request(timeout=1000), traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
            await set_.replicas.infer(mine, 1, 2.0)
            spoilt = replace(request(), traceparent="00\r\nEvil: 1")
            await set_.replicas.infer(spoilt, 1, 2.0)
            length = [int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]) for head in triton.heads]
            told = [
                orjson.loads(body[:n])["parameters"]["timeout"]
                for body, n in zip(triton.inferences, length, strict=True)
            ]
            assert 0 < told[0] <= 2_000_000
            assert told[1] == 1000, "the client's own timeout is shorter"
            assert b"traceparent: 00-" in triton.heads[1]
            assert b"traceparent" not in triton.heads[2]
            assert b"Evil" not in triton.heads[2]

    aio.run(scenario())


def test_a_replica_that_is_killed_costs_no_request() -> None:
    async def scenario() -> None:
        async with serving(3) as set_:
            for triton in set_.tritons:
                triton.delay_s = 0.005
            await set_.ask_many(100)
            asking = asyncio.create_task(set_.ask_many(400))
            for _ in range(3):
                await asyncio.sleep(0.05)
                await set_.tritons[0].kill()
                await asyncio.sleep(0.05)
                await set_.tritons[0].start()
            assert not failures(await asking)
            assert set_.events.second["retry"] > 0
            assert set_.events.reasons(set_.tritons[0].name) <= {"connect", "broken"}

    aio.run(scenario())


def test_a_killed_replica_gets_traffic_again_when_it_is_back() -> None:
    async def scenario() -> None:
        async with serving(2) as set_:
            dead = set_.tritons[0]
            await dead.kill()
            assert not failures(await set_.ask_many(40))
            assert not set_.state(dead)
            await dead.start()
            await aio.until(lambda: set_.state(dead))
            dead.inferences.clear()
            await set_.ask_many(60)
            assert dead.inferences
            assert (dead.name, None, None) in set_.events.readmissions

    aio.run(scenario())


def test_a_frozen_replica_is_ejected_and_its_requests_are_answered_elsewhere() -> None:
    async def scenario() -> None:
        async with serving(3) as set_:
            await set_.ask_many(200)
            set_.tritons[0].frozen = True
            began = time.perf_counter()
            answers = await set_.ask_many(400, at_once=16, timeout_s=3.0)
            assert time.perf_counter() - began < 2.5
            assert not failures(answers)
            assert "hang" in set_.events.reasons(set_.tritons[0].name)
            assert all(set_.state(triton) for triton in set_.tritons[1:])
            set_.tritons[0].frozen = False
            await aio.until(lambda: set_.state(set_.tritons[0]))

    aio.run(scenario())


def test_an_idle_replica_that_freezes_is_noticed_too() -> None:
    async def scenario() -> None:
        async with serving(2) as set_:
            set_.tritons[0].frozen = True
            await aio.until(lambda: not set_.state(set_.tritons[0]))
            assert set_.state(set_.tritons[1])

    aio.run(scenario())


def test_a_slow_model_is_not_taken_for_a_frozen_replica() -> None:
    async def scenario() -> None:
        async with serving(2, replace(QUICK, hang_after_s=0.2)) as set_:
            for triton in set_.tritons:
                triton.delay_s = 0.7
            assert not failures(await set_.ask_many(8))
            assert not set_.events.ejections

    aio.run(scenario())


def test_a_version_that_is_stuck_on_one_replica_loses_its_traffic_there_only() -> None:
    async def scenario() -> None:
        async with serving(3, replace(QUICK, hang_after_s=0.3)) as set_:
            await set_.ask_many(300)
            stuck = set_.tritons[0]
            stuck.stuck = True
            assert not failures(await set_.ask_many(200, at_once=16))
            assert (stuck.name, "m", 1, "hang") in set_.events.ejections
            assert set_.state(stuck), "the replica itself answers"

    aio.run(scenario())


def test_a_version_that_fails_on_one_replica_loses_its_traffic_there() -> None:
    async def scenario() -> None:
        async with serving(3) as set_:
            await set_.ask_many(100)
            bad = set_.tritons[0]
            bad.reply = fake_triton.INTERNAL
            failed: list[BaseException] = []
            while (bad.name, "m", 1, "internal") not in set_.events.ejections:
                failed += failures(await set_.ask_many(100))
            assert 0 < len(failed) <= 3 * 8
            assert all(isinstance(error, UpstreamFailure) for error in failed)
            assert set_.events.second["retry"] == 0, "a model's own failure is no reason to ask again"

    aio.run(scenario())


def test_a_version_that_fails_everywhere_is_ejected_nowhere() -> None:
    async def scenario() -> None:
        async with serving(3, watched=False) as set_:
            await set_.ask_many(100)
            for triton in set_.tritons:
                triton.reply = fake_triton.INTERNAL
            assert len(failures(await set_.ask_many(200))) == 200
            assert not set_.events.ejections

    aio.run(scenario())


def test_a_version_that_one_replica_does_not_have_is_found_on_another() -> None:
    async def scenario() -> None:
        async with serving(2) as set_:
            without = set_.tritons[0]
            without.reply = fake_triton.NOT_LOADED
            assert not failures(await set_.ask_many(50))
            assert (without.name, "m", 1, "not_loaded") in set_.events.ejections
            without.reply = None
            await aio.until(lambda: (without.name, "m", 1) in set_.events.readmissions)

    aio.run(scenario())


def test_a_dead_model_process_is_found_without_traffic_and_gets_none() -> None:
    async def scenario() -> None:
        async with serving(2) as set_:
            await set_.replicas.schema("m", 1)
            await aio.until(lambda: all(triton.inferences for triton in set_.tritons))
            set_.tritons[0].reply = fake_triton.STUB_DIED
            await aio.until(lambda: (set_.tritons[0].name, "m", 1, "internal") in set_.events.ejections)
            assert not failures(await set_.ask_many(30))
            assert set_.events.second["retry"] == 0
            set_.tritons[0].reply = None
            await aio.until(lambda: (set_.tritons[0].name, "m", 1) in set_.events.readmissions)

    aio.run(scenario())


def test_a_model_that_answers_its_clients_is_not_probed() -> None:
    async def scenario() -> None:
        async with serving(2, replace(QUICK, probe_interval_s=10.0)) as set_:
            await set_.replicas.schema("m", 1)
            await set_.ask_many(50)
            sent = sum(len(triton.inferences) for triton in set_.tritons)
            await asyncio.sleep(0.5)
            assert sum(len(triton.inferences) for triton in set_.tritons) == sent

    aio.run(scenario())


@pytest.mark.parametrize("kind", [{"sequence_batching": {}}, {"model_transaction_policy": {"decoupled": True}}])
def test_models_with_sequences_or_streams_are_never_probed(kind: dict[str, object]) -> None:
    async def scenario() -> None:
        async with serving(2) as set_:
            for triton in set_.tritons:
                triton.config = fake_triton.CONFIG | kind
            await set_.replicas.schema("m", 1)
            await asyncio.sleep(0.6)
            assert not any(triton.inferences for triton in set_.tritons)

    aio.run(scenario())


def test_a_replica_that_lies_is_not_believed() -> None:
    async def scenario() -> None:
        async with serving(3) as set_:
            await set_.ask_many(60)
            set_.tritons[0].lies = True
            while "nonsense" not in set_.events.reasons(set_.tritons[0].name):
                assert not failures(await set_.ask_many(200))

    aio.run(scenario())


def test_a_replica_that_says_it_is_not_ready_gets_no_new_requests() -> None:
    async def scenario() -> None:
        async with serving(2) as set_:
            leaving = set_.tritons[0]
            leaving.ready = False
            await aio.until(lambda: not set_.state(leaving))
            leaving.inferences.clear()
            assert not failures(await set_.ask_many(40))
            assert not leaving.inferences

    aio.run(scenario())


def test_two_of_three_sick_and_all_is_still_served() -> None:
    async def scenario() -> None:
        async with serving(3) as set_:
            await set_.ask_many(100)
            set_.tritons[0].frozen = True
            await set_.tritons[1].kill()
            assert not failures(await set_.ask_many(200, at_once=8))

    aio.run(scenario())


def test_all_ejected_and_all_are_tried() -> None:
    async def scenario() -> None:
        async with serving(2, replace(QUICK, ejection_s=60.0)) as set_:
            for triton in set_.tritons:
                triton.ready = False
            await aio.until(lambda: not any(set_.state(triton) for triton in set_.tritons))
            assert not failures(await set_.ask_many(50))
            assert all(triton.inferences for triton in set_.tritons)

    aio.run(scenario())


def test_documents_come_from_whoever_answers() -> None:
    async def scenario() -> None:
        async with serving(3, watched=False) as set_:
            assert set(await set_.replicas.documents("v2")) == {triton.name for triton in set_.tritons}
            await set_.tritons[0].kill()
            await set_.tritons[1].kill()
            survivor = set_.tritons[2].name
            assert (await set_.replicas.document("v2"))["name"] == survivor
            assert set(await set_.replicas.documents("v2")) == {survivor}
            assert (await set_.replicas.schema("m", 1)).max_batch_size == 8
            assert await set_.replicas.ready()
            await set_.tritons[2].kill()
            assert not await set_.replicas.ready()
            with pytest.raises(Unavailable):
                await set_.replicas.documents("v2")
            with pytest.raises(Unavailable):
                await set_.replicas.document("v2")

    aio.run(scenario())


def test_replicas_follow_a_dns_name_and_a_failed_look_up_changes_nothing() -> None:
    hosts = ["127.0.0.1"]

    async def look_up(name: str) -> list[str]:
        assert name == "triton.test"
        if not hosts:
            raise OSError("no such name")
        return list(hosts)

    async def scenario() -> None:
        async with fake_tritons(1) as tritons:
            port = tritons[0].port
            settings = replace(QUICK, resolve_interval_s=0.05, drain_s=0.5)
            replicas = ReplicaSet(DnsName("triton.test", port, 1), settings, look_up=look_up)
            with pytest.raises(Unavailable, match="no replica"):
                await replicas.infer(request(), 1, 1.0)
            watch = asyncio.create_task(replicas.run())
            await aio.until(replicas.states)
            assert (await replicas.infer(request(), 1, 1.0)).replica == f"127.0.0.1:{port}"

            hosts.append("localhost")
            await aio.until(lambda: len(replicas.states()) == 2)
            await aio.until(lambda: all(state.healthy for state in replicas.states()))
            hosts.clear()
            await asyncio.sleep(0.2)
            assert len(replicas.states()) == 2
            hosts.append("localhost")
            await aio.until(lambda: [state.replica for state in replicas.states()] == [f"localhost:{port}"])
            assert (await replicas.infer(request(), 1, 1.0)).replica == f"localhost:{port}"
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            await replicas.aclose()

    aio.run(scenario())


def test_versions_that_are_no_longer_routed_are_forgotten() -> None:
    async def scenario() -> None:
        async with serving(2) as set_:
            set_.replicas.follow([("m", 1)])
            await aio.until(lambda: all(triton.inferences for triton in set_.tritons))
            set_.replicas.follow([])
            await asyncio.sleep(0.2)
            sent = sum(len(triton.inferences) for triton in set_.tritons)
            await asyncio.sleep(0.5)
            assert sum(len(triton.inferences) for triton in set_.tritons) == sent

    aio.run(scenario())
