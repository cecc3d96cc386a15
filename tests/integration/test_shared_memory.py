"""Large tensors between a real gateway and a real Triton on one machine: through memory, and as if through a socket."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import psutil
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from services.core.errors import OK, PenstockError
from services.core.inference import RequestedOutput
from services.core.route import Route, RouteTable
from services.core.tensor import ITEM_SIZE, Tensor
from services.triton.http import HttpPool
from services.triton.shared_memory.arena import DIRECTORY, PREFIX
from tests.fakes.controller import controlling
from tests.fakes.gateway import DTYPES, Answer, Client, GrpcClient, Question, RestClient, eventually, in_loop
from tests.fakes.gateway_process import GatewayProcess, gateway_process
from tests.fakes.running_triton import RunningTriton, running_triton
from tests.fakes.triton_zoo.repository import build_zoo

pytestmark = pytest.mark.integration

MODEL = "batched"  # gives every input back; nothing is merged for it
LARGE = 70_000
FORMS = ("rest-binary", "grpc-raw", "rest-json", "grpc-typed")
FIXED_SIZE = {datatype: size for datatype, size in ITEM_SIZE.items() if size is not None}
# These have neither a JSON form nor a typed one.
RAW_ONLY = ("FP16", "BF16")
_CHANNEL = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
_SETTINGS = {"rest_s": 1.0, "retry_s": 0.5}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    """A Triton that only this file's gateways share memory with, and that may be killed."""
    root = tmp_path_factory.mktemp("memory")
    build_zoo(root / "zoo")
    repository = root / "repository"
    shutil.copytree(root / "zoo" / MODEL, repository / MODEL)
    with running_triton(repository, root / "state") as running:
        running.load(MODEL, 1)
        yield running


@dataclass
class Bench:
    """A gateway before Triton."""

    triton: RunningTriton
    gateway: GatewayProcess
    through: dict[str, Client]
    direct: dict[str, Client]
    names: set[str] = field(default_factory=set)

    async def regions(self) -> set[str]:
        """Return the names of the gateway's regions at Triton, and remember them."""
        pool = HttpPool("127.0.0.1", self.triton.http_port)
        try:
            response = await pool.request("GET", "/v2/systemsharedmemory/status")
        except PenstockError:
            return set()
        finally:
            await pool.aclose()
        names = {region["name"] for region in orjson.loads(response.body)}
        found = {name for name in names if name.startswith(PREFIX)}
        self.names |= found
        return found

    async def held_bytes(self) -> float:
        return await self.gateway.metric("penstock_shared_memory_bytes")

    async def ask_anew(self, tensor: Tensor) -> Answer:
        """Ask on a connection of its own: any worker may get it."""
        pool = HttpPool("127.0.0.1", self.gateway.ports["REST"])
        try:
            return await RestClient(pool, binary=True).ask(Question(MODEL, [tensor], timeout_s=20.0))
        finally:
            await pool.aclose()

    async def share(self, count: int) -> set[str]:
        """Send large requests until Triton has this many regions, and return their names."""
        while len(await self.regions()) != count:
            await asyncio.gather(*[self.ask_anew(noise(number)) for number in range(8)])
        return await self.regions()


def noise(seed: int, size: int = LARGE) -> Tensor:
    data = random.Random(seed).randbytes(size)
    return Tensor("UINT8", "UINT8", (1, size), data)


def files_of(worker: psutil.Process) -> set[str]:
    """Return the names of the arenas that a process has open."""
    paths = [Path(file.path) for file in worker.open_files()]
    return {path.name for path in paths if path.parent == DIRECTORY and path.name.startswith(PREFIX)}


async def eventually_so(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until a condition that has to be asked for holds."""
    while not await condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.05)


@asynccontextmanager
async def bench(triton: RunningTriton, state_dir: Path, workers: int = 1, **memory: Any) -> AsyncIterator[Bench]:
    """Run a gateway; when it has ended nothing is left of its memory, neither here nor at Triton."""
    config = state_dir / "settings.yaml"
    config.write_bytes(orjson.dumps({"gateway": {"shared_memory": _SETTINGS | memory}}))  # JSON is YAML too
    async with controlling() as controller:
        await controller.publish(RouteTable(1, {MODEL: Route(MODEL, 1, versions=frozenset({1}))}))
        replica = f"{triton.http_port}/{triton.grpc_port}"
        options = ("--config", str(config))
        async with gateway_process(state_dir, replica, controller.port, *options, workers=workers) as gateway:
            await gateway.announced()
            await eventually(lambda: len(controller.watchers) >= workers)
            await eventually((state_dir / "routes.json").exists)
            async with (
                _clients(gateway.ports["REST"], gateway.ports["gRPC"]) as through,
                _clients(triton.http_port, triton.grpc_port) as direct,
            ):
                both = Bench(triton, gateway, through, direct)
                yield both
            await both.regions()
            assert await gateway.terminate() == 0
            assert not any((DIRECTORY / name).exists() for name in both.names)
            assert not await both.regions(), "Triton has none of them any more"


@asynccontextmanager
async def _clients(rest: int, grpc_port: int) -> AsyncIterator[dict[str, Client]]:
    pool = HttpPool("127.0.0.1", rest)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}", options=_CHANNEL) as channel:
            yield {
                "rest-json": RestClient(pool, binary=False),
                "rest-binary": RestClient(pool, binary=True),
                "grpc-raw": GrpcClient(channel, raw=True),
                "grpc-typed": GrpcClient(channel, raw=False),
            }
    finally:
        await pool.aclose()


def large(datatype: str, chance: random.Random) -> Tensor:
    """Return an input of at least 64 KiB whose every element has a JSON form."""
    size = FIXED_SIZE[datatype]
    count = -(-LARGE // size) + chance.randrange(100)
    kind = np.dtype(DTYPES[datatype])
    if datatype == "BOOL":
        data = bytes(chance.choices(b"\x00\x01", k=count))
    elif kind.kind == "f":
        # Few digits: Triton reads longer ones in JSON inexactly.
        values = np.random.default_rng(chance.randrange(1 << 30)).integers(-4096, 4096, size=count) / 256
        data = values.astype(kind).tobytes()
    else:
        data = chance.randbytes(count * size)
    return Tensor(datatype, datatype, (1, count), data)


def question_of(form: str, number: int) -> Question:
    """Return a question of its own: some large inputs, or all of them, small ones and text among them."""
    chance = random.Random(f"{form} {number}")
    datatypes = [name for name in FIXED_SIZE if form in FORMS[:2] or name not in RAW_ONLY]
    if form not in FORMS[:2]:
        datatypes = chance.sample(datatypes, 4) if number else datatypes
    inputs = [large(datatype, chance) for datatype in datatypes]
    text = b"gr\xc3\xbc\xc3\x9fe" * 12_000
    inputs.append(Tensor("BYTES", "BYTES", (1, 1), len(text).to_bytes(4, "little") + text))
    if number % 2:
        inputs[1] = Tensor(inputs[1].name, inputs[1].datatype, (1, 1), bytes(FIXED_SIZE[inputs[1].datatype]))
        chance.shuffle(inputs)
    # Which outputs are wanted cannot be said in binary form here; all of them can.
    outputs = [] if form == "rest-binary" else [RequestedOutput(tensor.name) for tensor in inputs]
    return Question(MODEL, inputs, id=f"{form} {number}", outputs=outputs)


def exact(answer: Answer) -> dict[str, Any]:
    outputs = {name: (o.datatype, o.shape, bytes(o.data)) for name, o in answer.outputs.items()}
    return {"status": answer.status, "model": answer.model, "version": answer.version, "id": answer.id} | outputs


def test_large_tensors_of_every_datatype_are_what_triton_gives_without_us(own: RunningTriton, tmp_path: Path) -> None:
    @in_loop
    async def scenario() -> None:
        async with bench(own, tmp_path) as both:
            (name,) = await both.share(1)
            (worker,) = both.gateway.workers()
            assert files_of(worker) == {name}
            for form in FORMS:
                questions = [question_of(form, number) for number in range(8)]
                together = await asyncio.gather(*[both.through[form].ask(question) for question in questions])
                for question, answer in zip(questions, together, strict=True):
                    assert answer.status in (0, OK.http), answer.message
                    assert exact(answer) == exact(await both.direct[form].ask(question))
                    assert answer.id == question.id
                    for given in question.inputs:
                        assert bytes(answer.outputs[given.name].data) == bytes(given.data)
                # Nothing clears the memory: what went through it is still there.
                contents = (DIRECTORY / name).read_bytes()
                seen = [t.data for q in questions for t in q.inputs if len(t.data) >= 65_536 and t.datatype != "BYTES"]
                assert any(bytes(data) in contents for data in seen), f"{form}: none went through memory"
                texts = [t.data for q in questions for t in q.inputs if t.datatype == "BYTES"]
                assert not any(bytes(data) in contents for data in texts)
            assert await both.regions() == {name}
            await eventually_so(lambda: _is(both.held_bytes, 0.0))

    scenario()


async def _is(ask: Callable[[], Awaitable[object]], expected: object) -> bool:
    return await ask() == expected


def test_each_worker_has_one_region_and_its_memory_is_seen_while_it_is_held(own: RunningTriton, tmp_path: Path) -> None:
    @in_loop
    async def scenario() -> None:
        async with bench(own, tmp_path, workers=2) as both:
            names = await both.share(2)
            assert set.union(*map(files_of, both.gateway.workers())) == names
            assert all(file.stat().st_mode & 0o777 == 0o600 for file in map(DIRECTORY.joinpath, names))
            done = asyncio.Event()

            async def client(seed: int) -> None:
                while not done.is_set():
                    assert (await both.ask_anew(noise(seed, 1_000_000))).status == OK.http

            async with asyncio.TaskGroup() as clients:
                for number in range(8):
                    clients.create_task(client(number))
                await eventually_so(both.held_bytes)
                done.set()
            await eventually_so(lambda: _is(both.held_bytes, 0.0))
            assert await both.regions() == names, "nothing was registered twice"

    scenario()


def test_a_triton_that_is_killed_under_load_serves_again_and_shares_memory_again(
    own: RunningTriton, tmp_path: Path
) -> None:
    @in_loop
    async def scenario() -> None:
        async with bench(own, tmp_path) as both:
            (name,) = await both.share(1)
            done, answered, failed = asyncio.Event(), 0, 0

            async def client(seed: int) -> None:
                nonlocal answered, failed
                question = Question(MODEL, [noise(seed, 3 * LARGE)], timeout_s=20.0)
                form = FORMS[seed % 2]
                while not done.is_set():
                    answer = await both.through[form].ask(question)
                    if answer.outputs:
                        assert bytes(answer.outputs["UINT8"].data) == question.inputs[0].data
                        answered += 1
                    else:
                        assert answer.status in (503, 504, 14, 4), answer.message
                        failed += 1
                        await asyncio.sleep(0.01)

            async with asyncio.TaskGroup() as clients:
                for number in range(8):
                    clients.create_task(client(number))
                await eventually(lambda: answered > 50)
                (victim,) = _tritons(own)
                os.kill(victim.pid, signal.SIGKILL)
                await eventually(lambda: [t.pid for t in _tritons(own)] not in ([], [victim.pid]))
                await eventually_so(lambda: _is(both.regions, {name}))
                before = answered
                await eventually(lambda: answered > before + 50)
                done.set()
            failed = 0
            for number in range(20):
                answer = await both.ask_anew(noise(number))
                assert answer.status == OK.http, answer.message
            await eventually_so(lambda: _is(both.held_bytes, 0.0))

    scenario()


def _tritons(triton: RunningTriton) -> list[psutil.Process]:
    children = psutil.Process(triton.supervisor.pid).children()
    return [child for child in children if child.name() == "tritonserver" and child.status() != psutil.STATUS_ZOMBIE]


def test_of_a_killed_worker_nothing_stays_and_its_successor_shares_memory(own: RunningTriton, tmp_path: Path) -> None:
    @in_loop
    async def scenario() -> None:
        async with bench(own, tmp_path) as both:
            (name,) = await both.share(1)
            (victim,) = both.gateway.workers()
            os.kill(victim.pid, signal.SIGKILL)
            await eventually(lambda: not (DIRECTORY / name).exists())
            await eventually(lambda: [w.pid for w in both.gateway.workers()] not in ([], [victim.pid]))

            async def taken_over() -> bool:
                # At first there may be nobody to take it, or the route table is not there yet.
                await asyncio.gather(*[both.ask_anew(noise(number)) for number in range(4)], return_exceptions=True)
                found = await both.regions()
                return len(found) == 1 and name not in found

            await eventually_so(taken_over)
            (worker,) = both.gateway.workers()
            assert files_of(worker) == await both.regions()
            assert (await both.ask_anew(noise(1))).status == OK.http

    scenario()


def test_workers_that_are_replaced_hand_their_memory_back(own: RunningTriton, tmp_path: Path) -> None:
    @in_loop
    async def scenario() -> None:
        async with bench(own, tmp_path) as both:
            (name,) = await both.share(1)
            (old,) = both.gateway.workers()
            both.gateway.process.send_signal(signal.SIGHUP)
            await eventually(
                lambda: [w.pid for w in both.gateway.workers()] not in ([], [old.pid]) and not old.is_running()
            )
            assert not (DIRECTORY / name).exists()
            assert await both.regions() == set()
            assert len(await both.share(1) - {name}) == 1

    scenario()


def test_clients_cannot_share_memory_although_the_gateway_does(own: RunningTriton, tmp_path: Path) -> None:
    @in_loop
    async def scenario() -> None:
        async with bench(own, tmp_path) as both:
            (name,) = await both.share(1)
            pool = HttpPool("127.0.0.1", both.gateway.ports["REST"])
            wanted = orjson.dumps({"key": f"/{name}", "offset": 0, "byte_size": 4096})
            for path, body in (
                ("status", None),
                ("region/mine/register", wanted),
                (f"region/{name}/unregister", b""),
                ("unregister", b""),
            ):
                method, parts = ("GET", ()) if body is None else ("POST", (body,))
                response = await pool.request(method, f"/v2/systemsharedmemory/{path}", None, parts)
                assert response.status == 403
            place = {
                "shared_memory_region": name,
                "shared_memory_offset": 0,
                "shared_memory_byte_size": LARGE,
            }
            given = {"name": "UINT8", "datatype": "UINT8", "shape": [1, LARGE], "parameters": place}
            infer = f"/v2/models/{MODEL}/infer"
            response = await pool.request("POST", infer, None, (orjson.dumps({"inputs": [given]}),))
            assert response.status == 403
            assert "shared memory" in orjson.loads(response.body)["error"]
            sent = {"name": "UINT8", "datatype": "UINT8", "shape": [1, 1], "data": [1]}
            output = {"name": "UINT8", "parameters": place}
            response = await pool.request("POST", infer, None, (orjson.dumps({"inputs": [sent], "outputs": [output]}),))
            assert response.status == 403
            await pool.aclose()

            async with grpc.aio.insecure_channel(f"127.0.0.1:{both.gateway.ports['gRPC']}") as channel:
                stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
                register = service_pb2.SystemSharedMemoryRegisterRequest(name="mine", key=f"/{name}", byte_size=4096)
                assert await _code(stub.SystemSharedMemoryRegister(register)) == "PERMISSION_DENIED"
                message = service_pb2.ModelInferRequest(model_name=MODEL)
                tensor = message.inputs.add(name="UINT8", datatype="UINT8", shape=[1, LARGE])
                tensor.parameters["shared_memory_region"].string_param = name
                tensor.parameters["shared_memory_byte_size"].int64_param = LARGE
                assert await _code(stub.ModelInfer(message)) == "PERMISSION_DENIED"
            assert await both.regions() == {name}

    scenario()


async def _code(call: Any) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return "OK"


def test_switched_off_there_is_no_memory_and_the_answers_are_the_same(own: RunningTriton, tmp_path: Path) -> None:
    @in_loop
    async def scenario() -> None:
        async with bench(own, tmp_path, enabled=False) as both:
            question = replace(question_of("rest-binary", 0), id="")
            for _ in range(3):
                answer = await both.through["rest-binary"].ask(question)
                assert exact(answer) == exact(await both.direct["rest-binary"].ask(question))
            assert await both.regions() == set()
            assert not any(map(files_of, both.gateway.workers()))

    scenario()
