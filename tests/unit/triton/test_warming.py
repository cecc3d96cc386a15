"""A version is warmed until its latency settles, and answers as it did when it was built, or gets no traffic."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from enginebuild.pipeline import Order, build
from enginebuild.runtime import OnnxModel

from services.core.errors import IntegrityError, PenstockError, Unavailable, UpstreamFailure
from services.core.inference import InferRequest, InferResponse, ModelSchema
from services.core.records.manifest import Manifest
from services.core.tensor import Tensor
from services.triton.layout import RepositoryLayout
from services.triton.warming.triton_warmer import MOST_REQUESTS, TritonWarmer
from services.triton.warming.warmer import Warmed
from tests.fakes import tiny_recipe
from tests.fakes.upstream import standard_models

Change = Callable[[list[Tensor]], list[Tensor]]


def as_it_is(outputs: list[Tensor]) -> list[Tensor]:
    return outputs


class OnnxServer:
    """Runs a published ONNX file, as Triton would."""

    def __init__(self, path: Path, change: Change = as_it_is) -> None:
        self._model, self._change = OnnxModel(path, 1), change
        self.rows: list[int] = []
        self.error: PenstockError | None = None

    async def infer(self, request: InferRequest, version: int, timeout_s: float) -> InferResponse:
        if self.error is not None:
            raise self.error
        inputs = {one.name: np.frombuffer(one.data, np.float32).reshape(one.shape) for one in request.inputs}
        self.rows.append(len(inputs["left"]))
        answer = self._model.run(inputs)
        outputs = [Tensor(name, "FP32", array.shape, array.tobytes()) for name, array in answer.items()]
        return InferResponse(request.model, version, "", self._change(outputs))

    def stream(self, request: InferRequest, version: int, timeout_s: float) -> AsyncIterator[InferResponse]:
        raise NotImplementedError

    async def schema(self, model: str, version: int) -> ModelSchema:
        raise AssertionError("the samples of the build are there")


class Servers:
    """The servers of one moment."""

    def __init__(self, **servers: OnnxServer) -> None:
        self.servers = servers

    def upstreams(self) -> Mapping[str, OnnxServer]:
        return self.servers


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    tiny_recipe.write(folder / "recipe")
    order = Order(folder / "repository", "2026-11-20T10:00:00+00:00")
    result = build(tiny_recipe.recipe(**tiny_recipe.FP32_ONLY), folder / "recipe", order, lambda _: None)
    assert result.published is not None
    return folder / "repository"


def model_of(repository: Path) -> Path:
    return repository / "sums" / "1" / "model.onnx"


def warm(repository: Path, **servers: OnnxServer) -> tuple[Warmed, ...]:
    warmer = TritonWarmer(Servers(**servers), RepositoryLayout(repository))
    return asyncio.run(warmer.warm("sums", 1))


def test_every_server_gets_single_rows_and_full_batches_until_it_has_settled(built: Path) -> None:
    one, two = OnnxServer(model_of(built)), OnnxServer(model_of(built))
    found = warm(built, one=one, two=two)
    assert [each.server for each in found] == ["one", "two"]
    for each, server in zip(found, (one, two), strict=True):
        assert set(server.rows) == {1, 16}
        assert len(server.rows) == each.requests <= 2 * MOST_REQUESTS
        assert each.compared >= 16
        assert each.first_s > 0 < each.last_s
        assert f"{each.requests} requests" in each.text


def shifted(by: float) -> Change:
    def change(outputs: list[Tensor]) -> list[Tensor]:
        return [replace(one, data=(np.frombuffer(one.data, np.float32) + np.float32(by)).tobytes()) for one in outputs]

    return change


def test_answers_that_differ_by_rounding_are_the_same(built: Path) -> None:
    assert warm(built, one=OnnxServer(model_of(built), shifted(1e-6)))[0].compared > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shifted(0.5), r"is off by 0\.5 of the build's answers"),
        (shifted(float("nan")), "is not finite where it was"),
        (lambda outputs: outputs[:1], "is missing, expected FP32"),
        (lambda outputs: [replace(one, shape=(*one.shape, 1)) for one in outputs], r"expected FP32 \[1, "),
    ],
)
def test_other_answers_than_those_of_the_build_are_refused_with_the_difference(
    built: Path, change: Change, words: str
) -> None:
    with pytest.raises(IntegrityError, match=words) as refusal:
        warm(built, good=OnnxServer(model_of(built)), other=OnnxServer(model_of(built), change))
    assert "sums version 1 gives other answers on other" in refusal.value.message


@pytest.mark.parametrize("error", [Unavailable("away"), UpstreamFailure("no kernel")])
def test_a_server_that_fails_is_told_as_it_says(built: Path, error: PenstockError) -> None:
    server = OnnxServer(model_of(built))
    server.error = error
    with pytest.raises(type(error), match=error.message):
        warm(built, one=server)


def test_without_servers_nothing_is_warm(built: Path) -> None:
    with pytest.raises(Unavailable, match="no Triton"):
        warm(built)


def test_one_that_never_settles_is_warm_after_its_time(built: Path) -> None:
    ticking = iter(float(at) ** 2 for at in range(10_000))
    warmer = TritonWarmer(
        Servers(one=OnnxServer(model_of(built))), RepositoryLayout(built), lambda: next(ticking), 500.0
    )
    [found] = asyncio.run(warmer.warm("sums", 1))
    assert not found.settled
    assert "not settled in the time it had" in found.text
    assert found.requests <= 2 * MOST_REQUESTS


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"no archive"])
def test_damaged_samples_are_said_to_be_damaged(built: Path, tmp_path: Path, content: bytes) -> None:
    shutil.copytree(built, tmp_path / "repository")
    (tmp_path / "repository" / "sums" / "1" / "warmup.npz").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"warmup\.npz"):
        warm(tmp_path / "repository", one=OnnxServer(model_of(built)))


def test_samples_of_another_model_are_refused(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "repository")
    np.savez(tmp_path / "repository" / "sums" / "1" / "warmup.npz", **{"input/image": np.zeros((32, 4))})
    with pytest.raises(IntegrityError, match="expected 32 rows for each input and output"):
        warm(tmp_path / "repository", one=OnnxServer(model_of(built)))


def test_a_version_that_something_else_made_is_warmed_with_its_configurations_sample(
    built: Path, tmp_path: Path
) -> None:
    shutil.copytree(built, tmp_path / "repository")
    manifest = tmp_path / "repository" / "sums" / "1" / "manifest.json"
    inputs = Manifest.from_json(manifest.read_bytes()).inputs
    manifest.unlink()
    sample = tuple(Tensor(spec.name, spec.datatype, (1, *spec.dims), bytes(16)) for spec in inputs)

    class Described(OnnxServer):
        async def schema(self, model: str, version: int) -> ModelSchema:
            return replace(standard_models()["pair"].schema, model=model, version=version, sample=sample)

    server = Described(model_of(built))
    [found] = warm(tmp_path / "repository", one=server)
    assert (found.compared, set(server.rows)) == (0, {1})
    assert found.requests == len(server.rows) >= 16

    class Bare(OnnxServer):
        async def schema(self, model: str, version: int) -> ModelSchema:
            return standard_models()["pair"].schema

    [found] = warm(tmp_path / "repository", one=Bare(model_of(built)))
    assert (found.requests, found.settled) == (0, True)
    assert "nothing to warm it with" in found.text
