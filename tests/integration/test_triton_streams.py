"""Decoupled models, queue timeouts and warm-up samples on a real Triton, through ``ReplicaSet``."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager

import numpy as np
import pytest

from services.core.errors import DeadlineExceeded, InvalidRequest, Unavailable, UpstreamFailure
from services.core.inference import InferRequest, InferResponse
from services.core.replica_address import ReplicaAddress
from services.core.tensor import Tensor
from services.triton.replicas.replica_set import ReplicaSet
from tests.fakes import aio, onnx_repository
from tests.fakes.running_triton import RunningTriton, running_triton
from tests.fakes.triton_zoo.repository import build_zoo

pytestmark = pytest.mark.integration

# What the build stage writes, with a queue delay so long that a request waits in the queue.
_BATCHING = """
dynamic_batching {
  preferred_batch_size: [8]
  max_queue_delay_microseconds: 1000000
  default_queue_policy {
    timeout_action: REJECT
    default_timeout_microseconds: 10000000
    allow_timeout_override: true
    max_queue_size: 4
  }
}
model_warmup [{
  name: "one" batch_size: 1 inputs { key: "X" value { data_type: TYPE_FP32 dims: [4] zero_data: true } }
}]
"""


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    """A Triton with ``repeat`` (decoupled) and ``scale``, whose configuration is like the build stage's."""
    root = tmp_path_factory.mktemp("streams")
    build_zoo(root / "zoo")
    repository = root / "repository"
    onnx_repository.scale(repository)
    path = repository / "scale" / "config.pbtxt"
    text = path.read_text()
    path.write_text(text[: text.index("dynamic_batching")] + _BATCHING)
    shutil.copytree(root / "zoo" / "repeat", repository / "repeat")
    with running_triton(repository, root / "state") as running:
        running.load("repeat", 1)
        running.load("scale", 1)
        yield running


@asynccontextmanager
async def replicas(triton: RunningTriton) -> AsyncIterator[ReplicaSet]:
    found = ReplicaSet([ReplicaAddress("127.0.0.1", triton.http_port, triton.grpc_port)])
    try:
        yield found
    finally:
        await found.aclose()


def repeat(count: int, **more: str) -> InferRequest:
    return InferRequest("repeat", inputs=[Tensor("COUNT", "INT32", (1,), np.int32(count).tobytes())], **more)  # type: ignore[arg-type]


async def taken(
    upstream: ReplicaSet, request: InferRequest, into: list[InferResponse] | None = None
) -> list[InferResponse]:
    """Take all responses; those before an error are in ``into``."""
    answers = [] if into is None else into
    async with aclosing(upstream.stream(request, 1, 20.0)) as responses:
        async for response in responses:
            answers.append(response)
    return answers


@pytest.mark.parametrize("count", [0, 1, 5, 300])
def test_every_response_of_a_decoupled_model_comes_in_order_and_the_last_is_final(
    triton: RunningTriton, count: int
) -> None:
    async def scenario() -> None:
        async with replicas(triton) as upstream:
            answers = await taken(upstream, repeat(count, id="mine"))
            with_data = [answer for answer in answers if answer.outputs]
            assert [int(np.frombuffer(a.outputs[0].data, np.int32)[0]) for a in with_data] == list(range(count))
            assert [answer.final for answer in answers] == [False] * (len(answers) - 1) + [True]
            assert {(a.id, a.version, a.attempts) for a in with_data} <= {("mine", 1, 1)}
            assert {answer.replica for answer in answers} == {f"127.0.0.1:{triton.http_port}"}

    aio.run(scenario())


def test_an_error_between_two_responses_is_told_and_triton_lives_on(triton: RunningTriton) -> None:
    async def scenario() -> None:
        async with replicas(triton) as upstream:
            for _ in range(10):
                seen: list[InferResponse] = []
                with pytest.raises(UpstreamFailure, match="failed after 2"):
                    await taken(upstream, repeat(-2), seen)
                assert len(seen) == 2
            assert len(await taken(upstream, repeat(2))) >= 2

    aio.run(scenario())


def test_a_stream_that_is_closed_early_leaves_triton_and_the_set_in_order(triton: RunningTriton) -> None:
    async def scenario() -> None:
        async with replicas(triton) as upstream:
            async with aclosing(upstream.stream(repeat(1000), 1, 20.0)) as responses:
                async for _ in responses:
                    break
            assert [state.in_flight for state in upstream.states()] == [0]
            assert len(await taken(upstream, repeat(3))) >= 3

    aio.run(scenario())


def test_what_a_stream_cannot_take_has_its_class(triton: RunningTriton) -> None:
    async def scenario() -> None:
        async with replicas(triton) as upstream:
            with pytest.raises(InvalidRequest, match="unexpected shape"):
                await taken(upstream, InferRequest("repeat", inputs=[Tensor("COUNT", "INT32", (2,), bytes(8))]))
            with pytest.raises(Unavailable, match="unknown model"):
                await taken(upstream, InferRequest("nobody"))

    aio.run(scenario())


def test_a_request_whose_time_ends_in_the_queue_is_refused_by_triton_itself(triton: RunningTriton) -> None:
    def ask(**parameters: int) -> InferRequest:
        return InferRequest("scale", inputs=[Tensor("X", "FP32", (1, 4), bytes(16))], parameters=dict(parameters))

    async def scenario() -> None:
        async with replicas(triton) as upstream:
            with pytest.raises(DeadlineExceeded, match="Request timeout expired"):
                await upstream.infer(ask(timeout=50_000), 1, 20.0)
            assert (await upstream.infer(ask(), 1, 20.0)).version == 1

    aio.run(scenario())


def test_the_warm_up_sample_of_the_configuration_is_answered(triton: RunningTriton) -> None:
    async def scenario() -> None:
        async with replicas(triton) as upstream:
            schema = await upstream.schema("scale", 1)
            assert [(tensor.name, tensor.shape) for tensor in schema.sample] == [("X", (1, 4))]
            answer = await upstream.infer(InferRequest("scale", inputs=list(schema.sample)), 1, 20.0)
            assert answer.outputs[0].shape == (1, 4)
            assert (await upstream.schema("repeat", 1)).decoupled

    aio.run(scenario())


def test_streams_to_a_triton_that_is_away_are_unavailable_and_nothing_hangs() -> None:
    async def scenario() -> None:
        away = ReplicaSet([ReplicaAddress("127.0.0.1", 1, 1)])
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable):
                await taken(away, repeat(1))
        await away.aclose()

    aio.run(scenario())
