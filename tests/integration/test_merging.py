"""Bursts through a gateway before a real Triton: every answer is the one that Triton gives to that request alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from struct import pack
from typing import Any

import grpc
import numpy as np
import orjson
import pytest

from services.core.inference import RequestedOutput
from services.core.route import Route, RouteTable
from services.core.tensor import Tensor
from services.triton.http import HttpPool
from tests.fakes.controller import controlling
from tests.fakes.gateway import Answer, Client, GrpcClient, Question, RestClient, eventually, in_loop
from tests.fakes.gateway_process import GatewayProcess, gateway_process
from tests.fakes.merging_models import NAMES, add_merging_models
from tests.fakes.running_triton import RunningTriton

pytestmark = pytest.mark.integration

BURST = 64
_REST_S = 0.05
FORMS = ("rest-json", "rest-binary", "grpc-raw", "grpc-typed")


@pytest.fixture(scope="module")
def models(triton: RunningTriton) -> RunningTriton:
    """The shared Triton, with this file's models."""
    add_merging_models(triton.repository)
    for name in NAMES:
        triton.load(name, 1)
    return triton


def int32(name: str, array: np.ndarray[Any, Any]) -> Tensor:
    return Tensor(name, "INT32", array.shape, array.astype("<i4").tobytes())


def fp32(name: str, array: np.ndarray[Any, Any]) -> Tensor:
    return Tensor(name, "FP32", array.shape, array.astype("<f4").tobytes())


def texts(name: str, rows: int, columns: int, chance: random.Random) -> Tensor:
    words = [b"", "grüße".encode(), b"x" * 300, b"a", b"null\0byte"]
    picked = [chance.choice(words) for _ in range(rows * columns)]
    return Tensor(name, "BYTES", (rows, columns), b"".join(pack("<I", len(word)) + word for word in picked))


def numbers(chance: random.Random, rows: int, columns: int) -> np.ndarray[Any, Any]:
    return np.array([[chance.randint(-1000, 1000) for _ in range(columns)] for _ in range(rows)]).reshape(rows, columns)


def of_mixed(chance: random.Random) -> Question:
    """Several inputs, BYTES among them; batches of 1 to 4; dimensions of two sizes each; some outputs or all."""
    rows = chance.choice([1, 1, 1, 2, 4])
    inputs = [
        int32("NUMBERS", numbers(chance, rows, chance.choice([1, 3]))),
        texts("TEXTS", rows, chance.choice([1, 2]), chance),
    ]
    outputs = chance.choice([[], [], [RequestedOutput("SAME"), RequestedOutput("TOTAL")]])
    return Question("merge_mixed", inputs, outputs=outputs)


def of_scores(chance: random.Random) -> Question:
    """Floats that are multiplied; some want classes."""
    features = np.array([[chance.uniform(-5, 5) for _ in range(3)] for _ in range(chance.choice([1, 1, 2]))])
    outputs = chance.choice([[], [RequestedOutput("SCORES", 2), RequestedOutput("SAME")]])
    return Question("merge_scores", [fp32("FEATURES", features)], outputs=outputs)


def of_sizes(chance: random.Random) -> Question:
    """Small batches for a model that prefers some sizes and runs two at once."""
    return Question("merge_sizes", [int32("X", numbers(chance, chance.choice([1, 1, 1, 2, 3]), 1))])


def of_plain(chance: random.Random) -> Question:
    """The same for a model of which nothing is said but that it batches."""
    return replace(of_sizes(chance), model="merge_plain")


def of_pair(chance: random.Random) -> Question:
    """A Python model that says that it takes merged requests."""
    rows = chance.choice([1, 2])
    return Question("merge_pair", [int32(name, numbers(chance, rows, 2)) for name in ("LEFT", "RIGHT")])


def of_every_datatype(chance: random.Random) -> Question:
    """Thirteen inputs, one of each datatype, of one or two elements."""
    rows, columns = chance.choice([1, 1, 2]), chance.choice([1, 2])
    inputs = [Tensor("in_BOOL", "BOOL", (rows, columns), bytes(chance.choice([0, 1]) for _ in range(rows * columns)))]
    inputs.append(texts("in_STRING", rows, columns, chance))
    sizes = {"8": 1, "16": 2, "32": 4, "64": 8}
    for bits, size in sizes.items():
        for kind in ("UINT", "INT"):
            data = chance.randbytes(rows * columns * size)
            inputs.append(Tensor(f"in_{kind}{bits}", f"{kind}{bits}", (rows, columns), data))
    for bits, size in (("16", 2), ("32", 4), ("64", 8)):
        values = np.array([chance.uniform(-9, 9) for _ in range(rows * columns)]).astype(f"<f{size}")
        inputs.append(Tensor(f"in_FP{bits}", f"FP{bits}", (rows, columns), values.tobytes()))
    return Question("every_datatype", inputs)


@dataclass
class Bench:
    """A gateway before Triton, and clients of both."""

    triton: RunningTriton
    gateway: GatewayProcess
    through: dict[str, Client]
    direct: dict[str, Client]

    async def both(self, form: str, questions: list[Question]) -> list[tuple[Answer, Answer]]:
        """Return Triton's answer to each question alone, and the gateway's to all at once."""
        alone = [await self.direct[form].ask(question) for question in questions]
        together = await asyncio.gather(*[self.through[form].ask(question) for question in questions])
        return list(zip(alone, together, strict=True))

    async def counts(self, model: str) -> tuple[int, int, int]:
        """Return Triton's requests and rows of a model, and the requests that the gateway has merged.

        Triton answers first and counts then: its numbers are read until they rest.
        """
        pool = HttpPool("127.0.0.1", self.triton.http_port)
        path = f"/v2/models/{model}/versions/1/stats"
        found, before = (0, 0), (-1, -1)
        try:
            while found != before:
                before = found
                await asyncio.sleep(_REST_S)
                stats = orjson.loads((await pool.request("GET", path)).body)["model_stats"][0]
                found = stats["inference_stats"]["success"]["count"], stats["inference_count"]
        finally:
            await pool.aclose()
        merged = await self.gateway.metric("penstock_merged_requests_total", model=model)
        return *found, int(merged)


@asynccontextmanager
async def bench(triton: RunningTriton, state_dir: Path) -> AsyncIterator[Bench]:
    """Run a gateway with one worker."""
    routes = {name: Route(name, 1, versions=frozenset({1})) for name in (*NAMES, "every_datatype")}
    async with controlling() as controller:
        await controller.publish(RouteTable(1, routes))
        replica = f"{triton.http_port}/{triton.grpc_port}"
        async with gateway_process(state_dir, replica, controller.port, workers=1) as gateway:
            await gateway.announced()
            await eventually((state_dir / "routes.json").exists)
            async with (
                _clients(gateway.ports["REST"], gateway.ports["gRPC"]) as through,
                _clients(triton.http_port, triton.grpc_port) as direct,
            ):
                yield Bench(triton, gateway, through, direct)


@asynccontextmanager
async def _clients(rest: int, grpc_port: int) -> AsyncIterator[dict[str, Client]]:
    pool = HttpPool("127.0.0.1", rest)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            yield {
                "rest-json": RestClient(pool, binary=False),
                "rest-binary": RestClient(pool, binary=True),
                "grpc-raw": GrpcClient(channel, raw=True),
                "grpc-typed": GrpcClient(channel, raw=False),
            }
    finally:
        await pool.aclose()


def questions_of(make: Callable[[random.Random], Question], chance: random.Random) -> list[Question]:
    """Return a burst of different questions, each with an id of its own."""
    return [replace(make(chance), id=f"{make.__name__} {number}") for number in range(BURST)]


def exact(answer: Answer) -> dict[str, Any]:
    """Return what must be equal, bit for bit."""
    outputs = {name: (o.datatype, o.shape, bytes(o.data)) for name, o in answer.outputs.items()}
    return {"status": answer.status, "model": answer.model, "version": answer.version, "id": answer.id} | outputs


def assert_alike(alone: Answer, together: Answer, question: Question) -> None:
    """Compare an answer with Triton's own; products of floats may differ in the last digit."""
    assert together.status == alone.status, together.message
    assert together.id == question.id
    mine, theirs = exact(together), exact(alone)
    if question.model == "merge_scores":
        mine_scores, their_scores = mine.pop("SCORES"), theirs.pop("SCORES")
        assert mine_scores[:2] == their_scores[:2]
        if their_scores[0] == "FP32":
            mine_values, their_values = (np.frombuffer(scores[2], "<f4") for scores in (mine_scores, their_scores))
            np.testing.assert_allclose(mine_values, their_values, rtol=1e-5)
        else:
            best = [[part.split(b":")[1:] for part in _strings(scores[2])] for scores in (mine_scores, their_scores)]
            assert best[0] == best[1], "the same classes in the same order"
    assert mine == theirs


def _strings(data: bytes) -> list[bytes]:
    found, offset = [], 0
    while offset < len(data):
        end = offset + 4 + int.from_bytes(data[offset : offset + 4], "little")
        found.append(data[offset + 4 : end])
        offset = end
    return found


async def _one_burst(both: Bench, form: str, questions: list[Question]) -> int:
    """Ask Triton one by one and the gateway at once; compare everything and return how many requests were merged."""
    model = questions[0].model
    alone = [await both.direct[form].ask(question) for question in questions]
    requests, rows, merged = await both.counts(model)
    together = await asyncio.gather(*[both.through[form].ask(question) for question in questions])
    for question, one, other in zip(questions, alone, together, strict=True):
        assert_alike(one, other, question)
    requests_after, rows_after, merged_after = await both.counts(model)
    assert rows_after - rows == sum(question.inputs[0].shape[0] for question in questions)
    saved = len(questions) - (requests_after - requests)
    assert merged_after - merged == saved
    return saved


@pytest.mark.parametrize("make", [of_mixed, of_scores, of_sizes, of_plain, of_pair, of_every_datatype])
def test_a_burst_is_merged_and_every_answer_is_the_one_that_triton_gives_alone(
    models: RunningTriton, tmp_path: Path, make: Callable[[random.Random], Question]
) -> None:
    @in_loop
    async def scenario() -> None:
        chance = random.Random(make.__name__)
        # FP16 has no typed form, and no JSON.
        forms = FORMS[1:3] if make is of_every_datatype else FORMS
        async with bench(models, tmp_path) as both:
            for form in forms:
                # A burst may come one by one where the machine is slow; the test's own bound ends that.
                while not await _one_burst(both, form, questions_of(make, chance)):
                    pass

    scenario()


def test_a_python_model_that_does_not_say_so_gets_every_request_by_itself(
    models: RunningTriton, tmp_path: Path
) -> None:
    @in_loop
    async def scenario() -> None:
        chance = random.Random(7)
        async with bench(models, tmp_path) as both:
            requests, rows, _ = await both.counts("merge_apart")
            for form in ("rest-binary", "grpc-raw"):
                questions = [replace(question, model="merge_apart") for question in questions_of(of_pair, chance)]
                for question, answer in zip(
                    questions,
                    await asyncio.gather(*[both.through[form].ask(question) for question in questions]),
                    strict=True,
                ):
                    left, right = (np.frombuffer(tensor.data, "<i4") for tensor in question.inputs)
                    assert bytes(answer.outputs["SUM"].data) == (left + right).tobytes()
                    assert answer.id == question.id
                rows += sum(question.inputs[0].shape[0] for question in questions)
            after = await both.counts("merge_apart")
            assert after == (requests + 2 * BURST, rows, 0)

    scenario()


def test_one_request_that_the_model_fails_at_fails_alone(models: RunningTriton, tmp_path: Path) -> None:
    @in_loop
    async def scenario() -> None:
        async with bench(models, tmp_path) as both:
            for form in ("rest-binary", "grpc-raw"):
                indexes = [*range(BURST)]
                indexes[BURST // 2] = 1000  # there are a hundred
                questions = [
                    Question("merge_lookup", [Tensor("INDEX", "INT64", (1, 1), pack("<q", index))], id=f"q{index}")
                    for index in indexes
                ]
                for index, (alone, together) in zip(indexes, await both.both(form, questions), strict=True):
                    assert exact(together) == exact(alone)
                    if index < 100:
                        assert bytes(together.outputs["VALUE"].data) == pack("<q", 10 * index)
                        assert together.id == f"q{index}"
                    else:
                        assert together.message == alone.message
                        assert "out of data bounds" in together.message

    scenario()


def test_requests_of_both_protocols_ride_together(models: RunningTriton, tmp_path: Path) -> None:
    @in_loop
    async def scenario() -> None:
        chance = random.Random(11)
        async with bench(models, tmp_path) as both:
            requests, _, merged = await both.counts("merge_sizes")
            asked = [(FORMS[number % 4], question) for number, question in enumerate(questions_of(of_sizes, chance))]
            answers = await asyncio.gather(*[both.through[form].ask(question) for form, question in asked])
            for (_, question), answer in zip(asked, answers, strict=True):
                assert answer.id == question.id
                expected = -np.frombuffer(question.inputs[0].data, "<i4")
                assert bytes(answer.outputs["Y"].data) == expected.tobytes()
            requests_after, _, merged_after = await both.counts("merge_sizes")
            assert requests_after - requests == BURST - (merged_after - merged)

    scenario()
